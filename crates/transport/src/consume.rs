//! [`Subscription`] and [`Delivery`]: messages in. A message is given back with `reject`, never `nack`: from RabbitMQ
//! 4.3 on a `nack` does not count towards the delivery limit. Not here: the meaning of a message (crate broker).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beds_core::traceparent::{TRACEPARENT, is_traceparent};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};

use crate::consumers::{Consumers, Wanted};
use crate::link::Link;
use crate::topology::{self, QueueKind, Topology};
use crate::{TransportError, TransportResult};

/// One consumer of one queue with its own channel. It comes back after every loss, with its queue and its prefetch.
pub struct Subscription {
    link: Link,
    topology: Arc<Topology>,
    queue: &'static str,
    tag: String,
    prefetch: u16,
    open: Option<Open>,
    wanted: Wanted,
    /// Before the next attempt.
    pause: Duration,
}

/// Headers of a message that has waited: how often, and that an attempt before may have had an effect.
pub(crate) const WAITS: &str = "beds-waits";
pub(crate) const IN_DOUBT: &str = "beds-in-doubt";

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A channel with its consumer. It is replaced as a whole.
struct Open {
    channel: Channel,
    consumer: Consumer,
    finished: Arc<Finished>,
}

/// Messages of one channel that are done with and not yet acknowledged. Reads are done with in the order in which they
/// came, so one acknowledgement stands for all up to it: RabbitMQ and both connections are spared the others.
struct Finished {
    channel: Channel,
    /// How many make an acknowledgement; with fewer it goes out when no further message is at hand.
    group: u16,
    state: Mutex<(u16, u64)>,
}

impl Subscription {
    pub(crate) fn new(
        link: Link,
        topology: Arc<Topology>,
        consumers: &Consumers,
        queue: &'static str,
        tag: &str,
        prefetch: u16,
    ) -> Self {
        let (wanted, pause) = (consumers.enter(queue), FIRST_PAUSE);
        Self { link, topology, queue, tag: tag.to_owned(), prefetch, open: None, wanted, pause }
    }

    /// The next message. Waits as long as it takes; safe to cancel.
    pub async fn next(&mut self) -> Delivery {
        loop {
            let Some(open) = &mut self.open else {
                match self.open().await {
                    Ok(open) => {
                        (self.open, self.pause) = (Some(open), FIRST_PAUSE);
                        self.wanted.opened();
                    }
                    Err(error) => self.wait(&error).await,
                }
                continue;
            };
            let at_hand = open.consumer.next().now_or_never();
            let next = match at_hand {
                Some(next) => next,
                None => {
                    open.finished.acknowledge();
                    open.consumer.next().await
                }
            };
            match next {
                Some(Ok(inner)) => {
                    return Delivery { inner, queue: self.queue, finished: Arc::clone(&open.finished) };
                }
                // The connection broke, or the queue was deleted: begin again.
                Some(Err(_)) | None => {
                    self.open = None;
                    self.wanted.closed();
                }
            }
        }
    }

    /// Says once why the queue cannot be consumed, and waits a while.
    async fn wait(&mut self, error: &TransportError) {
        if self.link.is_live() && self.wanted.failed(&error.to_string()) {
            tracing::warn!(queue = self.queue, %error, "A queue cannot be consumed; trying again.");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Tells RabbitMQ to send nothing more. Messages that were sent and not begun go back when the channel closes.
    pub async fn cancel(&mut self) {
        if let Some(open) = self.open.take() {
            self.wanted.closed();
            open.finished.acknowledge();
            let cancelled = open.channel.basic_cancel(open.consumer.tag(), BasicCancelOptions::default());
            if tokio::time::timeout(Duration::from_secs(1), cancelled).await.is_err() {
                tracing::debug!(queue = self.queue, "RabbitMQ did not answer the cancel.");
            }
        }
    }

    async fn open(&self) -> TransportResult<Open> {
        let live = self.link.live().await;
        let channel = live.connection.create_channel().await?;
        self.topology.declare_queue(&channel, self.queue).await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let tag = format!("{}.{}", self.tag, uuid::Uuid::new_v4().simple());
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(self.queue.into(), tag.into(), options, FieldTable::default()).await?;
        let group = if topology::kind_of(self.queue) == Some(QueueKind::Volatile) { self.prefetch } else { 1 };
        let finished = Finished { channel: channel.clone(), group, state: Mutex::default() };
        Ok(Open { channel, consumer, finished: Arc::new(finished) })
    }
}

impl Finished {
    fn add(&self, tag: u64) {
        if self.group == 1 {
            // They need not be done with in order: each waits for its own records.
            return settled(self.channel.basic_ack(tag, BasicAckOptions::default()).now_or_never());
        }
        let count = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = (state.0 + 1, tag);
            state.0
        };
        if count >= self.group {
            self.acknowledge();
        }
    }

    /// Hands the acknowledgement to the connection. Nothing depends on when it is written: RabbitMQ hands out no more than
    /// the prefetch until it is. Through the channel, because lapin's own `Acker` would take the way round by a task.
    fn acknowledge(&self) {
        let (count, tag) = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        if count > 0 {
            let options = BasicAckOptions { multiple: count > 1 };
            settled(self.channel.basic_ack(tag, options).now_or_never());
        }
    }
}

/// A settlement that does not arrive means a redelivery, which takes effect once; so it is only noted.
fn settled(sent: Option<lapin::Result<()>>) {
    if let Some(Err(error)) = sent {
        tracing::debug!(%error, "A message could not be settled; it will come again.");
    }
}

/// One message, not yet acknowledged. Dropping it leaves it with this consumer until its channel closes.
pub struct Delivery {
    inner: lapin::message::Delivery,
    queue: &'static str,
    finished: Arc<Finished>,
}

impl Delivery {
    pub fn queue(&self) -> &'static str {
        self.queue
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
        self.inner.properties.correlation_id().as_ref().map_or_else(|| self.message_id(), |text| text.as_str())
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

    /// True where RabbitMQ has handed the message out before.
    pub fn is_redelivered(&self) -> bool {
        self.inner.redelivered
    }

    /// True where an attempt before may have had an effect: the message is redelivered, or it waited because that was not
    /// known. Of a message that never waited, the second is its publisher's word: the inbox is then asked, and nothing is
    /// recorded otherwise.
    pub fn is_in_doubt(&self) -> bool {
        self.is_redelivered() || self.header(IN_DOUBT).is_some()
    }

    /// How often the message has waited for better times; for a new message, the publisher's own number.
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
        let texts: [(&Option<ShortString>, With); 6] = [
            (of.content_type(), BasicProperties::with_content_type),
            (of.kind(), BasicProperties::with_type),
            (of.app_id(), BasicProperties::with_app_id),
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

    /// The message is done with.
    pub fn ack(&self) {
        self.finished.add(self.inner.delivery_tag);
    }

    /// The message goes back to its queue, or becomes a dead letter at its delivery limit.
    pub fn requeue(&self) {
        self.finished.acknowledge();
        let options = BasicRejectOptions { requeue: true };
        settled(self.finished.channel.basic_reject(self.inner.delivery_tag, options).now_or_never());
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
