//! The one table of exchanges, queues, bindings and arguments, and how it is declared. Every connection declares all of it
//! before it is used, so deleted parts come back.
//!
//! Not here: messages (publish.rs, consume.rs).

use std::time::Duration;

use beds_core::{RoutingKey, config};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, Connection, ExchangeKind};

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

/// How often RabbitMQ hands out a write again before it becomes a dead letter.
pub const DELIVERY_LIMIT: u32 = 5;

/// Looking at a dead letter counts as a delivery, and without a limit of its own a queue of RabbitMQ 4 drops messages that
/// were looked at 20 times (tried on 4.0.5). Any number of nine digits and more is taken by 3.10.8 and 4.0.5 alike; -1 is
/// not.
const LOOKS: i64 = 1_000_000_000;

/// Batches of records that wait for the admin node, one to some hundred records each. Requests go on while it is away,
/// so there is room for hours.
const MOST_BATCHES: i64 = 1_000_000;

/// And bytes of them. An admin node that is away for a day must not fill RabbitMQ's disk: beyond it, records that may be lost go, and
/// writes wait for room for theirs.
const MOST_BATCH_BYTES: i64 = 4 * 1024 * 1024 * 1024;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub exchange: &'static str,
    pub routing_key: &'static str,
    pub queue: &'static str,
    pub kind: QueueKind,
}

/// The promise of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// Classic; messages are not persistent and expire with their request's deadline. For reads.
    Volatile,
    /// Quorum; persistent, with a delivery limit and dead letters. For writes.
    Durable,
    /// Quorum; its messages expire, and go back to the exchange of requests.
    Waiting,
    /// Quorum; where dead letters wait for a person.
    Dead,
    /// Classic; records that may be lost when they are not taken: the oldest go first.
    Loose,
    /// Quorum; records that must not be lost. Refused when full.
    Kept,
}

pub const ROUTES: &[Route] = &[
    Route { exchange: EVENTS, routing_key: "rec.read", queue: "rec.read", kind: QueueKind::Volatile },
    Route { exchange: EVENTS, routing_key: "rel.read", queue: "rel.read", kind: QueueKind::Volatile },
    Route { exchange: EVENTS, routing_key: "rec.write", queue: "rec.write", kind: QueueKind::Durable },
    Route { exchange: EVENTS, routing_key: "rel.write", queue: "rel.write", kind: QueueKind::Durable },
    Route { exchange: WAITING, routing_key: "#", queue: WAITING, kind: QueueKind::Waiting },
    Route { exchange: LATER, routing_key: "#", queue: LATER, kind: QueueKind::Waiting },
    Route { exchange: LOGS, routing_key: "log.#", queue: "log", kind: QueueKind::Loose },
    Route { exchange: LOGS, routing_key: "audit.#", queue: "audit", kind: QueueKind::Kept },
    Route { exchange: LOGS, routing_key: "lineage.#", queue: "lineage", kind: QueueKind::Kept },
    Route { exchange: LOGS, routing_key: "metrics.#", queue: "metrics", kind: QueueKind::Loose },
    Route { exchange: DEAD, routing_key: "#", queue: DEAD, kind: QueueKind::Dead },
];

/// The queue of a routing key of `beds.events`.
pub fn queue_of(key: RoutingKey) -> &'static str {
    key.as_str()
}

/// True for a queue of the table: a reply must never be sent to one.
pub fn is_data_queue(name: &str) -> bool {
    kind_of(name).is_some()
}

pub(crate) fn kind_of(queue: &str) -> Option<QueueKind> {
    ROUTES.iter().find(|route| route.queue == queue).map(|route| route.kind)
}

/// The table with the numbers that come from the configuration.
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

    /// Declares everything. Safe to repeat.
    pub(crate) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        for exchange in [EVENTS, WAITING, LATER, LOGS, DEAD] {
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default()).await?;
        }
        let options = ExchangeDeclareOptions::default();
        channel.exchange_declare(NOTICES.into(), ExchangeKind::Topic, options, FieldTable::default()).await?;
        for route in ROUTES {
            self.declare_route(channel, route).await?;
        }
        Ok(())
    }

    /// Declares one queue and its binding, and says how many messages wait in it.
    pub(crate) async fn declare_queue(&self, channel: &Channel, queue: &str) -> lapin::Result<u32> {
        let mut waiting = 0;
        for route in ROUTES.iter().filter(|route| route.queue == queue) {
            waiting = self.declare_route(channel, route).await?;
        }
        Ok(waiting)
    }

    /// How many messages wait in each queue.
    pub(crate) async fn lengths(&self, connection: &Connection) -> lapin::Result<Vec<(&'static str, u32)>> {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let mut lengths = Vec::with_capacity(ROUTES.len());
        for route in ROUTES {
            let queue = channel.queue_declare(route.queue.into(), options, FieldTable::default()).await?;
            lengths.push((route.queue, queue.message_count()));
        }
        channel.close(200, "counted".into()).await?;
        Ok(lengths)
    }

    async fn declare_route(&self, channel: &Channel, route: &Route) -> lapin::Result<u32> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let declared = channel.queue_declare(route.queue.into(), options, self.arguments(route.kind)).await?;
        let options = QueueBindOptions::default();
        channel
            .queue_bind(
                route.queue.into(),
                route.exchange.into(),
                route.routing_key.into(),
                options,
                FieldTable::default(),
            )
            .await?;
        Ok(declared.message_count())
    }

    fn arguments(&self, kind: QueueKind) -> FieldTable {
        let mut arguments = FieldTable::default();
        let is_record = matches!(kind, QueueKind::Loose | QueueKind::Kept);
        let (most, most_bytes) =
            if is_record { (MOST_BATCHES, MOST_BATCH_BYTES) } else { (self.max_length, self.max_bytes) };
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(most));
        // A client of AMQP may send messages of any size.
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(most_bytes));
        let overflow = if kind == QueueKind::Loose { "drop-head" } else { "reject-publish" };
        arguments.insert("x-overflow".into(), text(overflow));
        // Said for both, or the default of the vhost decides.
        let is_classic = matches!(kind, QueueKind::Volatile | QueueKind::Loose);
        arguments.insert("x-queue-type".into(), text(if is_classic { "classic" } else { "quorum" }));
        if is_classic {
            return arguments;
        }
        // A queue in which a person looks around has a limit too, or RabbitMQ 4 gives it one.
        let limit = if kind == QueueKind::Dead { LOOKS } else { i64::from(DELIVERY_LIMIT) };
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
        if kind == QueueKind::Waiting {
            let longest = i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX);
            arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(longest));
        }
        if kind != QueueKind::Dead {
            arguments
                .insert("x-dead-letter-exchange".into(), text(if kind == QueueKind::Waiting { EVENTS } else { DEAD }));
            // Needs reject-publish as the overflow; a message then cannot be lost between the two queues.
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        }
        arguments
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
    fn each_data_routing_key_is_bound_to_exactly_one_queue() {
        for key in RoutingKey::ALL {
            let routes: Vec<_> = ROUTES.iter().filter(|route| route.routing_key == key.as_str()).collect();
            assert_eq!(routes.len(), 1, "{key}");
            assert_eq!(routes[0].queue, queue_of(key));
            assert_eq!(routes[0].kind == QueueKind::Durable, key.is_write());
        }
    }
}
