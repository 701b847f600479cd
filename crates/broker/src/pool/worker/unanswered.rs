//! A write that waits for better times: it failed and its requester waits for no answer, or only a node of a later release
//! understands it. The message itself must not get lost.
//!
//! Not here: how a write in doubt is resolved, which is `doubt`'s.

use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Event};
use beds_transport::topology::LONGEST_WAIT;
use beds_transport::{Delivery, TransportError};
use tokio::time::Instant;

use super::Worker;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long a message is held while RabbitMQ takes none. RabbitMQ takes one away that is held for half an hour
/// (`consumer_timeout`).
const HELD: Duration = Duration::from_secs(600);

impl Worker<'_> {
    /// True for a write that may succeed later, and whose requester waits for no answer.
    pub(super) fn may_wait(&self, delivery: &Delivery, event: &Event, error: &BedsError) -> bool {
        let is_late = error.kind == ErrorKind::DeadlineExceeded && event.remaining().is_zero();
        self.pool.key.is_write() && delivery.reply_to().is_none() && error.kind.is_retryable() && !is_late
    }

    /// Sends the message to wait before the next attempt. It does not wait in the hands of this task: a database that is away would
    /// then hold up the writes of all others. Nor is it just given back: handed out again and again, it would be a dead letter
    /// before a database has restarted.
    pub(super) async fn wait(&self, delivery: &Delivery, is_in_doubt: bool) {
        match self.is_waiting(delivery, is_in_doubt).await {
            true => delivery.ack(),
            false => delivery.requeue(),
        }
    }

    /// False where RabbitMQ has not taken the message: its queue is full, the node stops, or that took too long.
    async fn is_waiting(&self, delivery: &Delivery, is_in_doubt: bool) -> bool {
        let wait = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(delivery.waits())).min(LONGEST_WAIT);
        let (mut pause, end) = (FIRST_PAUSE, Instant::now() + HELD);
        loop {
            let is_full = match self.publisher.wait(delivery, wait, is_in_doubt).await {
                Ok(()) => return true,
                Err(error) => matches!(error, TransportError::Refused | TransportError::Unroutable),
            };
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_WAIT),
            }
            if is_full || Instant::now() >= end {
                return false;
            }
        }
    }
}

/// True where an attempt may have had an effect.
pub(super) fn is_in_doubt(error: &BedsError, delivery: &Delivery) -> bool {
    error.kind == ErrorKind::OutcomeUnknown || delivery.is_in_doubt()
}
