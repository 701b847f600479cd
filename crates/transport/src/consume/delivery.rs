//! [`Delivery`]: one message in, and its settlement. A message is given back with `reject`, never `nack`: from RabbitMQ 4.3 on
//! a `nack` does not count towards the delivery limit.
//!
//! Not here: how messages come in (consume.rs), when acknowledgements go out (consume/acks.rs), the meaning of a message (crate
//! broker).

use std::sync::Arc;

use beds_core::Actor;
use beds_core::traceparent::{TRACEPARENT, is_traceparent};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};

use super::acks::Acks;
use crate::marks::{self, ACTOR, Marks};
use crate::topology::{EVENTS, LOGS, Queue};

/// Headers of a message that has waited: how often, and that an attempt before may have had an effect.
pub(crate) const WAITS: &str = "beds-waits";
pub(crate) const IN_DOUBT: &str = "beds-in-doubt";

/// The past of a message that is put aside.
#[derive(Debug, Clone, Copy)]
pub struct Waited {
    /// How often, this time included.
    pub times: u32,
    /// An attempt before may have had an effect.
    pub is_in_doubt: bool,
}

/// A message that was handed out so often before may be the one that ends its nodes.
const SUSPECT_AFTER: u32 = 2;

/// One message, not yet acknowledged. Dropping it leaves it with this consumer until its channel closes.
pub struct Delivery {
    inner: lapin::message::Delivery,
    queue: Queue,
    acks: Arc<Acks>,
}

impl Delivery {
    pub(super) fn new(inner: lapin::message::Delivery, queue: &Queue, acks: &Arc<Acks>) -> Self {
        Self { inner, queue: queue.clone(), acks: Arc::clone(acks) }
    }

    pub fn queue(&self) -> &str {
        self.queue.name()
    }

    /// Counts the messages of this consumer, from 1 after each connection.
    pub fn number(&self) -> u64 {
        self.inner.delivery_tag
    }

    pub fn body(&self) -> &[u8] {
        &self.inner.data
    }

    pub fn reply_to(&self) -> Option<&str> {
        self.inner.properties.reply_to().as_ref().map(|text| text.as_str())
    }

    /// The id by which the requester finds the answer: its correlation id, else the message id.
    pub fn correlation_id(&self) -> &str {
        self.inner
            .properties
            .correlation_id()
            .as_ref()
            .map_or_else(|| self.message_id(), |text| text.as_str())
    }

    pub fn message_id(&self) -> &str {
        self.inner.properties.message_id().as_ref().map_or("", |text| text.as_str())
    }

    /// The trace of a client that is no gateway, if it sent one.
    pub fn traceparent(&self) -> Option<&str> {
        match self.header(TRACEPARENT)? {
            AMQPValue::LongString(text) => {
                std::str::from_utf8(text.as_bytes()).ok().filter(|text| is_traceparent(text))
            }
            _ => None,
        }
    }

    /// True where a node has sealed the message for this queue.
    pub(crate) fn is_sealed(&self, marks: &Marks) -> bool {
        let of = &self.inner;
        let exchange = match self.queue {
            Queue::Events(_) => EVENTS,
            Queue::Reports(_) => LOGS,
        };
        marks.is_sealed(exchange, of.routing_key.as_str(), &of.properties, &of.data)
    }

    /// True where the message has a seal, good or bad.
    pub fn has_seal(&self) -> bool {
        marks::seal_of(&self.inner.properties).is_some()
    }

    /// The caller whom a node has proved, where the body does not name it. To be read of a sealed message only.
    pub fn proved_actor(&self) -> Option<Actor> {
        serde_json::from_str(self.text(ACTOR)?).ok()
    }

    /// The bearer credential of its publisher.
    pub fn credential(&self) -> Option<&str> {
        let (scheme, credential) = self.text("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(credential)
    }

    /// The login of its publisher, which RabbitMQ has compared with that of the connection.
    pub fn login(&self) -> Option<&str> {
        self.inner.properties.user_id().as_ref().map(|login| login.as_str())
    }

    fn text(&self, name: &str) -> Option<&str> {
        marks::text(self.inner.properties.headers().as_ref()?, name)
    }

    /// True where RabbitMQ has handed the message out before.
    pub fn is_redelivered(&self) -> bool {
        self.inner.redelivered
    }

    /// True where the message says that it waited because the effect of an attempt was not known. Without a seal, that is its
    /// publisher's word.
    pub fn is_marked_in_doubt(&self) -> bool {
        self.header(IN_DOUBT).is_some()
    }

    /// How often the message has waited for better times. Without a seal, the publisher's own number.
    pub fn waits(&self) -> u32 {
        self.header(WAITS).and_then(count).unwrap_or(0)
    }

    fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.inner.properties.headers().as_ref()?.inner().get(name)
    }

    /// The properties that matter to BEDS. The others are its publisher's own: RabbitMQ closes the channel of a node that publishes
    /// with the `user_id` of another login.
    pub(crate) fn essence(&self) -> BasicProperties {
        let of = &self.inner.properties;
        let mut essence = BasicProperties::default();
        let texts: [(&Option<ShortString>, With); 5] = [
            (of.content_type(), BasicProperties::with_content_type),
            (of.kind(), BasicProperties::with_type),
            (of.message_id(), BasicProperties::with_message_id),
            (of.correlation_id(), BasicProperties::with_correlation_id),
            (of.reply_to(), BasicProperties::with_reply_to),
        ];
        for (text, with) in texts {
            if let Some(text) = text {
                essence = with(essence, text.clone());
            }
        }
        essence
    }

    /// How often it was handed out before, as a quorum queue counts; a classic queue only knows "before". Of a message that is
    /// handed out for the first time, a count is its publisher's own.
    pub fn deliveries(&self) -> u32 {
        if !self.inner.redelivered {
            return 0;
        }
        self.header("x-delivery-count").and_then(count).unwrap_or(1)
    }

    /// True for a message that came back so often that it may be the one that ended its nodes.
    pub(super) fn is_suspect(&self) -> bool {
        self.deliveries() >= SUSPECT_AFTER
    }

    /// The message is done with.
    pub fn ack(&self) {
        self.acks.add(self.inner.delivery_tag);
    }

    /// The message goes back to its queue, or becomes a dead letter at its delivery limit.
    pub fn requeue(&self) {
        self.acks.give_back(self.inner.delivery_tag);
    }
}

/// Sets a property that is a short text.
type With = fn(BasicProperties, ShortString) -> BasicProperties;

/// A number in whichever width it was written.
fn count(value: &AMQPValue) -> Option<u32> {
    match value {
        AMQPValue::LongLongInt(n) => u32::try_from(*n).ok(),
        AMQPValue::LongInt(n) => u32::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some(*n),
        AMQPValue::ShortInt(n) => u32::try_from(*n).ok(),
        AMQPValue::ShortShortInt(n) => u32::try_from(*n).ok(),
        AMQPValue::ShortShortUInt(n) => Some(u32::from(*n)),
        AMQPValue::ShortUInt(n) => Some(u32::from(*n)),
        _ => None,
    }
}
