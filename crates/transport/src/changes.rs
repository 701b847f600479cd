//! [`ChangeLog`]: reads the stream of changes from a place on, each reader for itself. The stream is read over the same protocol as all
//! other queues; RabbitMQ's protocol for streams is not needed (tried on 3.10.8 and 4.0.5).
//!
//! Not here: the meaning of the messages (crates broker and gateway), the stream's arguments (topology/stream.rs).

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Consumer};

use crate::TransportResult;
use crate::link::Link;
use crate::marks::Marks;
use crate::topology::stream::{CHANGES, CHANGES_LOG};

/// Messages under way to a reader. RabbitMQ refuses a reader of a stream without a limit.
const AHEAD: u16 = 1000;
/// Acknowledgements that are sent together. For a stream they only make room for further messages.
const TOGETHER: u16 = 100;
/// The header with the place of a message.
const OFFSET: &str = "x-stream-offset";

/// The place at which a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStart {
    /// The first message that comes from now on.
    Next,
    /// This place. RabbitMQ takes the nearest one where it is not there: the first message tells.
    At(u64),
}

/// A message of the stream.
#[derive(Debug)]
pub struct Logged {
    /// Each message has the next number, from 0 on.
    pub offset: u64,
    pub key: String,
    pub body: Vec<u8>,
    /// A node has made it.
    pub is_sealed: bool,
}

/// A reader of the stream. It ends with its channel; a new one begins where the last one stopped.
pub struct ChangeLog {
    channel: Channel,
    consumer: Consumer,
    marks: Marks,
    /// The last message, where it is not acknowledged, and the number of those.
    open: Option<(u64, u16)>,
}

impl ChangeLog {
    pub(crate) async fn open(link: &Link, marks: Marks, start: LogStart) -> TransportResult<Self> {
        let live = link.live().await;
        let channel = live.connection.create_channel().await?;
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let mut arguments = FieldTable::default();
        let place = match start {
            LogStart::Next => AMQPValue::LongString(LongString::from("next")),
            LogStart::At(offset) => {
                AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
            }
        };
        arguments.insert(OFFSET.into(), place);
        let tag = format!("changes.{}", uuid::Uuid::new_v4().simple());
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(CHANGES_LOG.into(), tag.into(), options, arguments).await?;
        Ok(Self { channel, consumer, marks, open: None })
    }

    /// The next message; none where the channel has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Logged> {
        let came = match self.consumer.next().now_or_never() {
            Some(came) => came,
            None => {
                // No further message is at hand, so none waits for the acknowledgement.
                self.acknowledge();
                self.consumer.next().await
            }
        };
        let delivery = came?.ok()?;
        let number = self.open.map_or(0, |(_, number)| number) + 1;
        self.open = Some((delivery.delivery_tag, number));
        if number >= TOGETHER {
            self.acknowledge();
        }
        Some(self.logged(delivery))
    }

    fn acknowledge(&mut self) {
        let Some((tag, _)) = self.open.take() else { return };
        // Polls once, which hands it to the connection. A channel that broke shows itself at the next message.
        drop(self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).now_or_never());
    }

    fn logged(&self, delivery: Delivery) -> Logged {
        let (key, properties) = (delivery.routing_key.as_str(), &delivery.properties);
        let headers = properties.headers().as_ref();
        let offset = match headers.and_then(|headers| headers.inner().get(OFFSET)) {
            Some(AMQPValue::LongLongInt(offset)) => u64::try_from(*offset).unwrap_or(0),
            _ => 0,
        };
        let is_sealed = self.marks.is_sealed(CHANGES, key, properties, &delivery.data);
        Logged { offset, key: key.to_owned(), body: delivery.data, is_sealed }
    }
}
