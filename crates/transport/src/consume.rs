//! [`Subscription`]: messages in, from one queue.
//!
//! Not here: a message (consume/delivery.rs), its acknowledgement (consume/acks.rs).

mod acks;
mod delivery;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::Instant;

use crate::consumers::{Consumers, Wanted};
use crate::link::Link;
use crate::topology::{self, QueueKind, Topology};
use crate::{TransportError, TransportResult};
use acks::Acks;
pub use delivery::Delivery;
pub(crate) use delivery::{IN_DOUBT, WAITS};

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

/// Acknowledgements of reads that are sent together, at most.
const MOST_TOGETHER: u16 = 16;

/// So long a consumer of writes takes one message at a time when it finds some in its queue.
const CALM: Duration = Duration::from_secs(3);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A channel with its consumer. It is replaced as a whole.
struct Open {
    channel: Channel,
    consumer: Consumer,
    acks: Arc<Acks>,
    /// One message at a time until then, and as long as the last one may have ended a node.
    narrow_until: Option<Instant>,
    is_suspect: bool,
    /// Taken, and to be given out next.
    held: Option<Delivery>,
}

/// The next thing that happens to a consumer.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box for each message would cost more")]
enum Came {
    Message(lapin::message::Delivery),
    /// The messages of a node that died would be back by now.
    Calm,
    /// The connection broke, or the queue was deleted.
    End,
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
            if let Some(delivery) = open.held.take() {
                return delivery;
            }
            match open.came().await {
                Came::Message(inner) => {
                    open.acks.begin(inner.delivery_tag);
                    let delivery = Delivery::new(inner, self.queue, Arc::clone(&open.acks));
                    open.is_suspect = delivery.is_suspect();
                    let is_calm = open.narrow_until.is_some_and(|until| until <= Instant::now());
                    if !is_calm || open.is_suspect {
                        return delivery;
                    }
                    // The head of the queue is clean: the others may come beside each other.
                    open.held = Some(delivery);
                    self.widen().await;
                }
                Came::Calm => self.widen().await,
                // Begin again.
                Came::End => self.close(),
            }
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // The channel may live where only the consumer has gone.
            open.acks.idle();
        }
        self.wanted.closed();
    }

    /// Consumes with the whole prefetch from now on, or begins anew where that fails.
    async fn widen(&mut self) {
        if let Err(error) = self.try_to_widen().await {
            tracing::debug!(queue = self.queue, %error, "A consumer could not be widened; it begins anew.");
            self.close();
        }
    }

    async fn try_to_widen(&mut self) -> TransportResult<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.channel.basic_cancel(open.consumer.tag(), BasicCancelOptions::default()).await?;
        // The consumer before may have got one message more.
        if let Some(Some(Ok(inner))) = open.consumer.next().now_or_never() {
            open.acks.begin(inner.delivery_tag);
            open.held = Some(Delivery::new(inner, self.queue, Arc::clone(&open.acks)));
        }
        open.consumer = consume(&open.channel, self.queue, &self.tag, self.prefetch).await?;
        open.narrow_until = None;
        Ok(())
    }

    /// Says once why the queue cannot be consumed, and waits a while.
    async fn wait(&mut self, error: &TransportError) {
        if self.link.is_live() && self.wanted.failed(&error.to_string()) {
            tracing::warn!(queue = self.queue, %error, "A queue cannot be consumed; trying again.");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Tells RabbitMQ to send nothing more, and gives back the messages at hand: another node may have a task for them.
    pub async fn cancel(&mut self) {
        if let Some(mut open) = self.open.take() {
            self.wanted.closed();
            open.acks.idle();
            let cancelled = open.channel.basic_cancel(open.consumer.tag(), BasicCancelOptions::default());
            if tokio::time::timeout(Duration::from_secs(1), cancelled).await.is_err() {
                tracing::debug!(queue = self.queue, "RabbitMQ did not answer the cancel.");
            }
            if let Some(held) = open.held.take() {
                held.requeue();
            }
            while let Some(Some(Ok(inner))) = open.consumer.next().now_or_never() {
                open.acks.give_back(inner.delivery_tag);
            }
        }
    }

    async fn open(&self) -> TransportResult<Open> {
        let live = self.link.live().await;
        let channel = live.connection.create_channel().await?;
        let waiting = self.topology.declare_queue(&channel, self.queue).await?;
        let kind = topology::kind_of(self.queue);
        // After a crash its messages come back to the head of the queue, a moment after their connection has gone, and one of them
        // may have been the cause. Handed out together, the others would be counted with it, and become dead letters with it.
        let is_narrow = kind == Some(QueueKind::Durable) && waiting > 0;
        let narrow_until = is_narrow.then(|| Instant::now() + CALM);
        let prefetch = if narrow_until.is_some() { 1 } else { self.prefetch };
        let consumer = consume(&channel, self.queue, &self.tag, prefetch).await?;
        // Writes need not be done with in order: each waits for its own reports.
        let group = if kind == Some(QueueKind::Volatile) { (self.prefetch / 4).clamp(1, MOST_TOGETHER) } else { 1 };
        let acks = Arc::new(Acks::new(channel.clone(), usize::from(group)));
        Ok(Open { channel, consumer, acks, narrow_until, is_suspect: false, held: None })
    }
}

impl Open {
    /// Waits for a message, or for the end of the time in which they come one by one.
    async fn came(&mut self) -> Came {
        let next = match self.consumer.next().now_or_never() {
            Some(next) => next,
            None => {
                self.acks.idle();
                // A message that may have ended a node is still at hand: it is worked on alone.
                let until = self.narrow_until.filter(|_| !self.is_suspect);
                let calm = async {
                    match until {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    next = self.consumer.next() => next,
                    () = calm => return Came::Calm,
                }
            }
        };
        match next {
            Some(Ok(inner)) => Came::Message(inner),
            Some(Err(_)) | None => Came::End,
        }
    }
}

async fn consume(channel: &Channel, queue: &'static str, tag: &str, prefetch: u16) -> TransportResult<Consumer> {
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let tag = format!("{tag}.{}", uuid::Uuid::new_v4().simple());
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await?)
}
