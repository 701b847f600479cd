//! The exchanges, queues, bindings and arguments, and how they are declared. Every connection declares the common ones before it
//! is used; the two queues of a database are declared by the nodes that consume them and by those that publish to them.
//!
//! Not here: messages (publish.rs, consume.rs), the regular look at the queues (queues.rs).

pub mod stream;

use std::time::Duration;

use beds_core::{ReportStream, RoutingKey, SEED_KEYS, config};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

/// Requests.
pub const EVENTS: &str = "beds.events";
/// Logs, audit, lineage and metrics of every node.
pub const LOGS: &str = "beds.logs";
/// Messages that could not be worked on; the exchange and its queue have the same name.
pub const DEAD: &str = "beds.dead";
/// Writes that failed for now and whose requesters wait for no answer; the exchange and its queue have the same name. From there
/// RabbitMQ sends them back to `beds.events` by their routing keys, when their time has come.
pub const WAITING: &str = "beds.waiting";
/// Events that only a node of a later release understands; otherwise like [`WAITING`]. They have a queue of their own because any
/// publisher can fill it.
pub const LATER: &str = "beds.later";
/// Messages whose publishers have proved nothing. They are not kept for ever: the oldest go first.
pub const UNPROVED: &str = "beds.dead.unproved";
/// The longest time that a message waits between two attempts. One with a shorter time can wait behind one with a longer.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Reply queues begin with this, and nothing else does.
pub const REPLY_PREFIX: &str = "beds.reply.";

/// Notices of callers that have gone. Not durable: a notice is worth nothing after a restart.
pub const NOTICES: &str = "beds.notices";
/// A node's queue of notices begins with this.
pub const NOTICES_PREFIX: &str = "beds.notices.";

/// The queue that stands for the name of a node begins with this.
pub const NAME_PREFIX: &str = "beds.node.";
/// The queue that stands for work which one node does for all begins with this.
pub const LEAD_PREFIX: &str = "beds.lead.";

/// How often RabbitMQ hands out a write again before it becomes a dead letter.
pub const DELIVERY_LIMIT: u32 = 5;

/// The same of a batch of reports. It is counted with each death of its node, whichever message ended that one: a write that ends
/// its node six times must not make a dead letter of a batch.
const DELIVERY_LIMIT_OF_REPORTS: u32 = 30;

/// Looking at a dead letter counts as a delivery, and without a limit of its own a queue of RabbitMQ 4 drops messages that
/// were looked at 20 times (tried on 4.0.5). Any number of nine digits and more is taken by 3.10.8 and 4.0.5 alike; -1 is
/// not.
const LOOKS: i64 = 1_000_000_000;

/// Batches of reports that wait for the admin node, one to some hundred reports each. Requests go on while it is away,
/// so there is room for hours.
const MOST_BATCHES: i64 = 1_000_000;

/// And bytes of them. An admin node that is away for a day must not fill RabbitMQ's disk: beyond it, reports that may be lost go, and
/// writes wait for room for theirs.
const MOST_BATCH_BYTES: i64 = 4 * 1024 * 1024 * 1024;

/// Messages without proof, and bytes of them.
const MOST_UNPROVED: i64 = 1_000;
const MOST_UNPROVED_BYTES: i64 = 64 * 1024 * 1024;

/// The promise of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueKind {
    /// Classic; messages are not persistent and expire with their request's deadline. For reads.
    Volatile,
    /// Quorum; persistent, with a delivery limit and dead letters. For writes.
    Durable,
    /// Quorum; its messages expire, and go back to the exchange of requests.
    Waiting,
    /// Quorum; where dead letters wait for a person.
    Dead,
    /// Classic; reports that may be lost when they are not taken: the oldest go first.
    Loose,
    /// Quorum; reports that must not be lost. Refused when full.
    Kept,
    /// Classic; messages without proof, few of them: the oldest go first.
    Unproved,
}

/// The queues that nodes do not consume. Each takes all messages of the exchange of its name.
const ASIDE: [(&str, QueueKind); 3] =
    [(WAITING, QueueKind::Waiting), (LATER, QueueKind::Waiting), (DEAD, QueueKind::Dead)];

/// A queue that nodes consume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// The reads or the writes of one database.
    Events(RoutingKey),
    /// Nodes' reports of one stream.
    Reports(ReportStream),
}

impl Queue {
    pub fn name(&self) -> &str {
        match self {
            Queue::Events(key) => key.as_str(),
            Queue::Reports(stream) => stream.as_str(),
        }
    }

    pub(crate) fn kind(&self) -> QueueKind {
        match self {
            Queue::Events(key) if key.is_write() => QueueKind::Durable,
            Queue::Events(_) => QueueKind::Volatile,
            Queue::Reports(ReportStream::Log | ReportStream::Metrics) => QueueKind::Loose,
            Queue::Reports(ReportStream::Audit | ReportStream::Lineage) => QueueKind::Kept,
        }
    }
}

/// True for a queue of BEDS, also of a database that this node does not have: a reply must never be sent to one.
pub fn is_data_queue(name: &str) -> bool {
    // Includes the seed's keys: queues of these names,
    // of the release before, may still be there.
    common_queues().any(|queue| queue == name)
        || SEED_KEYS.contains(&name)
        || RoutingKey::parse(name).is_some()
}

/// The queues that each installation has, whatever its databases.
pub(crate) fn common_queues() -> impl Iterator<Item = &'static str> {
    ASIDE
        .into_iter()
        .map(|(queue, _)| queue)
        .chain([UNPROVED, stream::CHANGES_LOG])
        .chain(ReportStream::ALL.into_iter().map(ReportStream::as_str))
}

/// The declarations, with the numbers that come from the configuration.
#[derive(Debug)]
pub(crate) struct Topology {
    max_length: i64,
    max_bytes: i64,
}

impl Topology {
    pub(crate) fn new(config: &config::Amqp) -> Self {
        let (max_length, max_bytes) = (config.max_queue_length.get(), config.max_queue_bytes.get());
        Self { max_length: i64::from(max_length), max_bytes: i64::from(max_bytes) }
    }

    /// Declares the exchanges, and the queues that each installation has. Safe to repeat.
    pub(crate) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        for exchange in [EVENTS, WAITING, LATER, LOGS, DEAD] {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel
                .exchange_declare(
                    exchange.into(),
                    ExchangeKind::Topic,
                    options,
                    FieldTable::default(),
                )
                .await?;
        }
        let options = ExchangeDeclareOptions::default();
        channel
            .exchange_declare(NOTICES.into(), ExchangeKind::Topic, options, FieldTable::default())
            .await?;
        for (queue, kind) in ASIDE {
            self.create(channel, queue, kind).await?;
            bind(channel, queue, queue, "#").await?;
        }
        self.create(channel, UNPROVED, QueueKind::Unproved).await?;
        stream::declare(channel).await?;
        for stream in ReportStream::ALL {
            self.declare_queue(channel, &Queue::Reports(stream)).await?;
        }
        Ok(())
    }

    /// Declares one queue and its bindings, and says what is in it.
    pub(crate) async fn declare_queue(
        &self,
        channel: &Channel,
        queue: &Queue,
    ) -> lapin::Result<Count> {
        let count = self.create(channel, queue.name(), queue.kind()).await?;
        match queue {
            Queue::Events(key) => {
                bind(channel, key.as_str(), EVENTS, key.as_str()).await?;
                // Keeps the seed's keys alive: a publisher
                // to rel.write reaches the database main.
                if let Some(seed_key) = key.seed_key() {
                    bind(channel, key.as_str(), EVENTS, seed_key).await?;
                }
            }
            Queue::Reports(stream) => {
                bind(channel, stream.as_str(), LOGS, &format!("{stream}.#")).await?
            }
        }
        Ok(count)
    }

    async fn create(
        &self,
        channel: &Channel,
        queue: &str,
        kind: QueueKind,
    ) -> lapin::Result<Count> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.into(), options, self.arguments(kind)).await.map(Count::of)
    }

    fn arguments(&self, kind: QueueKind) -> FieldTable {
        let mut arguments = FieldTable::default();
        let is_record = matches!(kind, QueueKind::Loose | QueueKind::Kept);
        let (most, most_bytes) = match kind {
            _ if is_record => (MOST_BATCHES, MOST_BATCH_BYTES),
            QueueKind::Unproved => (MOST_UNPROVED, MOST_UNPROVED_BYTES),
            _ => (self.max_length, self.max_bytes),
        };
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(most));
        // A client of AMQP may send messages of any size.
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(most_bytes));
        let is_loose = matches!(kind, QueueKind::Loose | QueueKind::Unproved);
        let overflow = if is_loose { "drop-head" } else { "reject-publish" };
        arguments.insert("x-overflow".into(), text(overflow));
        // Said for both, or the default of the vhost decides.
        let is_classic = is_loose || kind == QueueKind::Volatile;
        arguments
            .insert("x-queue-type".into(), text(if is_classic { "classic" } else { "quorum" }));
        if is_classic {
            return arguments;
        }
        // A queue in which a person looks around has a limit too, or RabbitMQ 4 gives it one.
        let limit = match kind {
            QueueKind::Dead => LOOKS,
            QueueKind::Kept => i64::from(DELIVERY_LIMIT_OF_REPORTS),
            _ => i64::from(DELIVERY_LIMIT),
        };
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
        if kind == QueueKind::Waiting {
            let longest = i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(longest));
        }
        if kind != QueueKind::Dead {
            arguments.insert(
                "x-dead-letter-exchange".into(),
                text(if kind == QueueKind::Waiting { EVENTS } else { DEAD }),
            );
            // Needs reject-publish as the overflow; a message then cannot be lost between the two queues.
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        }
        arguments
    }
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    channel
        .queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())
        .await
}

/// Whether there is a queue, and what is in it.
pub(crate) async fn count(channel: &Channel, queue: &str) -> lapin::Result<Count> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.map(Count::of)
}

/// The messages and the consumers of a queue. A quorum queue without a leader has neither, as RabbitMQ says (tried on 3.10.8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) messages: u32,
    pub(crate) consumers: u32,
}

impl Count {
    #[expect(clippy::needless_pass_by_value, reason = "as the answer of RabbitMQ comes")]
    fn of(queue: lapin::Queue) -> Self {
        Self { messages: queue.message_count(), consumers: queue.consumer_count() }
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// The name of a reply queue: one for each connection of a node, because an exclusive queue dies with its connection.
pub(crate) fn reply_queue(node: &str) -> ShortString {
    format!("{REPLY_PREFIX}{node}.{}", uuid::Uuid::new_v4().simple()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_goes_into_a_queue_of_beds_whichever_database_it_is_of() {
        for name in [
            "rel.write.main",
            "rec.read.elsewhere",
            "rel.write",
            "beds.dead",
            "beds.waiting",
            "audit",
            "log",
        ] {
            assert!(is_data_queue(name), "{name}");
        }
        for name in ["beds.reply.n1.x", "mine", "rel.write.", "relish"] {
            assert!(!is_data_queue(name), "{name}");
        }
    }
}
