//! [`Subscription`] and [`Delivery`]: messages in. A message is given back with `reject`, never `nack`: from RabbitMQ
//! 4.3 on a `nack` does not count towards the delivery limit. What a message means is the broker crate's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};

use crate::TransportResult;
use crate::link::Link;
use crate::topology::Topology;

/// One consumer of one queue with its own channel. It comes back after every loss, with its queue and its prefetch.
pub struct Subscription {
    link: Link,
    topology: Arc<Topology>,
    queue: &'static str,
    tag: String,
    prefetch: u16,
    open: Option<(Channel, Consumer)>,
}

impl Subscription {
    pub(crate) fn new(link: Link, topology: Arc<Topology>, queue: &'static str, tag: &str, prefetch: u16) -> Self {
        Self { link, topology, queue, tag: tag.to_owned(), prefetch, open: None }
    }

    /// The next message. Waits as long as it takes; safe to cancel.
    pub async fn next(&mut self) -> Delivery {
        loop {
            let Some((channel, consumer)) = &mut self.open else {
                match self.open().await {
                    Ok(open) => self.open = Some(open),
                    Err(error) => {
                        tracing::debug!(queue = self.queue, %error, "Cannot consume yet.");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
                continue;
            };
            match consumer.next().await {
                Some(Ok(inner)) => return Delivery { inner, queue: self.queue, channel: channel.clone() },
                // The connection broke, or somebody deleted the queue: begin again.
                Some(Err(_)) | None => self.open = None,
            }
        }
    }

    /// Tells RabbitMQ to send nothing more. What was sent and not begun goes back when the channel closes.
    pub async fn cancel(&mut self) {
        if let Some((channel, consumer)) = self.open.take() {
            let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            if tokio::time::timeout(Duration::from_secs(1), cancelled).await.is_err() {
                tracing::debug!(queue = self.queue, "RabbitMQ did not answer the cancel.");
            }
        }
    }

    async fn open(&self) -> TransportResult<(Channel, Consumer)> {
        let live = self.link.live().await;
        let channel = live.connection.create_channel().await?;
        self.topology.declare_queue(&channel, self.queue).await?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
        let tag = format!("{}.{}", self.tag, uuid::Uuid::new_v4().simple());
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(self.queue.into(), tag.into(), options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }
}

/// One message, not yet acknowledged. Dropping it leaves it with this consumer until its channel closes.
pub struct Delivery {
    inner: lapin::message::Delivery,
    queue: &'static str,
    channel: Channel,
}

impl Delivery {
    pub fn queue(&self) -> &'static str {
        self.queue
    }

    pub fn body(&self) -> &[u8] {
        &self.inner.data
    }

    pub fn reply_to(&self) -> Option<&str> {
        self.inner.properties.reply_to().as_ref().map(|text| text.as_str())
    }

    /// What the requester matches the answer by: its correlation id, else the message id.
    pub fn correlation_id(&self) -> &str {
        self.inner.properties.correlation_id().as_ref().map_or_else(|| self.message_id(), |text| text.as_str())
    }

    pub fn message_id(&self) -> &str {
        self.inner.properties.message_id().as_ref().map_or("", |text| text.as_str())
    }

    /// True where somebody had this message before.
    pub fn is_redelivered(&self) -> bool {
        self.inner.redelivered
    }

    /// How often it was handed out before, as a quorum queue counts; a classic queue only knows "before".
    pub fn deliveries(&self) -> u32 {
        let headers = self.inner.properties.headers().as_ref();
        let count = headers.and_then(|headers| headers.inner().get("x-delivery-count")).and_then(|value| match value {
            AMQPValue::LongLongInt(n) => u32::try_from(*n).ok(),
            AMQPValue::LongInt(n) => u32::try_from(*n).ok(),
            AMQPValue::LongUInt(n) => Some(*n),
            AMQPValue::ShortInt(n) => u32::try_from(*n).ok(),
            AMQPValue::ShortShortInt(n) => u32::try_from(*n).ok(),
            AMQPValue::ShortShortUInt(n) => Some(u32::from(*n)),
            AMQPValue::ShortUInt(n) => Some(u32::from(*n)),
            _ => None,
        });
        count.unwrap_or_else(|| u32::from(self.inner.redelivered))
    }

    /// The message is done with.
    pub fn ack(&self) {
        // Through the channel: lapin's own `Acker` would take the way round by another task.
        let ack = self.channel.basic_ack(self.inner.delivery_tag, BasicAckOptions::default());
        // The first poll hands it to the connection; nothing depends on when it is written, and RabbitMQ hands out no
        // more than the prefetch until it is.
        self.settled(ack.now_or_never().unwrap_or(Ok(())));
    }

    /// The message goes back to its queue, or becomes a dead letter at its delivery limit.
    pub async fn requeue(&self) {
        let options = BasicRejectOptions { requeue: true };
        self.settled(self.channel.basic_reject(self.inner.delivery_tag, options).await);
    }

    /// A settlement that does not arrive means a redelivery, which takes effect once; so it is only noted.
    fn settled(&self, result: lapin::Result<()>) {
        if let Err(error) = result {
            tracing::debug!(queue = self.queue, %error, "A message could not be settled; it will come again.");
        }
    }
}
