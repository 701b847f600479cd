//! The exchange and the stream of changes. A stream keeps its messages when they are read, so each reader has a place of its own in it.
//!
//! Not here: its readers (../changes.rs), the other queues (../topology.rs).

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::{bind, text};

/// Changes of records, by the keys `<store>.<database>.<template>.<kind>`. The gateways' own messages have the keys below.
pub const CHANGES: &str = "beds.changes";
/// The stream of all of them.
pub const CHANGES_LOG: &str = "beds.changes.log";
/// Keys of changes that were lost for a database begin with this.
pub const GAP_PREFIX: &str = "gap.";
/// Keys of the messages by which a gateway sees that its reader lives begin with this.
pub const CANARY_PREFIX: &str = "canary.";

/// How long a change can be read again, and how many bytes of them are kept.
const MOST_AGE: &str = "24h";
const MOST_BYTES: i64 = 1024 * 1024 * 1024;
/// RabbitMQ forgets whole segments: with its own 500 MB, a quiet stream would keep changes for weeks.
const SEGMENT_BYTES: i64 = 16 * 1024 * 1024;

/// Declares both. Safe to repeat.
pub(super) async fn declare(channel: &Channel) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default();
    channel.exchange_declare(CHANGES.into(), ExchangeKind::Topic, options, none).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("stream"));
    arguments.insert("x-max-age".into(), text(MOST_AGE));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(MOST_BYTES));
    let segment = AMQPValue::LongLongInt(SEGMENT_BYTES);
    arguments.insert("x-stream-max-segment-size-bytes".into(), segment);
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(CHANGES_LOG.into(), options, arguments).await?;
    bind(channel, CHANGES_LOG, CHANGES, "#").await
}
