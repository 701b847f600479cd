//! [`TransportError`]: the failures between a node and RabbitMQ, and their meaning for the message.
//!
//! Not here: errors that callers see (`core::error`).

use beds_core::{BedsError, ErrorKind, RoutingKey};

pub type TransportResult<T> = Result<T, TransportError>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Nothing was sent.
    #[error("there is no connection to RabbitMQ")]
    NotConnected,
    /// Nothing was sent: RabbitMQ is short of memory or disk and takes no publish, or takes them too slowly.
    #[error("RabbitMQ takes no publishes now (a memory or disk alarm, or overload)")]
    Blocked,
    /// RabbitMQ did not take the message: its queue is full.
    #[error("RabbitMQ refused the message: the queue is full")]
    Refused,
    /// RabbitMQ did not take the message: no queue is bound.
    #[error("RabbitMQ could not route the message: no queue is bound to its key")]
    Unroutable,
    /// Nothing was sent: no node takes messages with this key.
    #[error(
        "no node takes messages from the queue {0}: no node that serves the database runs, or none reaches it"
    )]
    Unserved(RoutingKey),
    /// The message was sent, and it is unknown whether RabbitMQ has it.
    #[error("the connection to RabbitMQ was lost before the message was confirmed")]
    Unconfirmed,
    /// The message was taken, but the answer cannot arrive any more.
    #[error("the connection to RabbitMQ was lost while waiting for the reply")]
    ReplyLost,
    #[error(
        "no queue for answers could be declared; may this login configure, write and read queues named beds.reply.*?"
    )]
    NoReplyQueue,
    /// No reply came before the deadline.
    #[error("no reply came before the deadline")]
    NoReply,
    #[error(
        "the topology could not be declared: {0}. If a queue exists with other arguments, drain and delete it, or restore amqp.max_queue_length and amqp.max_queue_bytes"
    )]
    Topology(String),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
}

impl TransportError {
    /// True where RabbitMQ certainly does not have the message.
    pub fn is_not_executed(&self) -> bool {
        matches!(
            self,
            Self::NotConnected
                | Self::Blocked
                | Self::Refused
                | Self::Unroutable
                | Self::Unserved(_)
                | Self::NoReplyQueue
                | Self::Topology(_)
        )
    }

    /// The error for the caller of a request. A read has no effect, so its loss is never an unknown outcome.
    pub fn into_beds(self, is_write: bool) -> BedsError {
        if let Self::Unserved(key) = &self {
            let (store, database) = (key.store(), key.database());
            return match key.is_of_tickets() {
                true => {
                    let text = "not executed: no node takes requests for tickets now";
                    BedsError::new(ErrorKind::Unavailable, text)
                }
                false => {
                    let text = format!(
                        "not executed: no node takes requests for the {store} database {database} now"
                    );
                    BedsError::new(ErrorKind::StoreUnavailable, text)
                }
            };
        }
        let (kind, text) = match &self {
            e if e.is_not_executed() => (
                ErrorKind::Unavailable,
                "not executed: the message broker did not take the request",
            ),
            Self::NoReply if !is_write => {
                (ErrorKind::DeadlineExceeded, "no answer came before the deadline")
            }
            _ if !is_write => (
                ErrorKind::Unavailable,
                "the connection was lost before the answer came; a read is safe to repeat",
            ),
            _ => (
                ErrorKind::OutcomeUnknown,
                "the outcome is unknown; repeat the request with the same Idempotency-Key",
            ),
        };
        BedsError::new(kind, text).with_source(self)
    }
}
