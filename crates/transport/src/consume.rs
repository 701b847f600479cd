//! [`Subscription`]: messages in, from one queue.
//!
//! Not here: a message (consume/delivery.rs), its acknowledgement (consume/acks.rs).

mod acks;
mod delivery;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::time::Instant;

use crate::consumers::{Consumers, Counted, Wanted};
use crate::link::{Link, Live};
use crate::topology::{Queue, QueueKind, Topology};
use crate::{TransportError, TransportResult};
use acks::Acks;
pub use delivery::{Delivery, Waited};
pub(crate) use delivery::{IN_DOUBT, WAITS};
pub use sweep::Sweep;

/// One consumer of one queue with its own channel. It comes back after every loss, with its queue and its prefetch.
pub struct Subscription {
    link: Link,
    topology: Arc<Topology>,
    consumers: Consumers,
    queue: Queue,
    tag: String,
    prefetch: u16,
    open: Option<Open>,
    /// A consumer that is being opened or widened. It is seen through, even if nothing waits for it for a while: cut off in the
    /// middle, it would take messages that nothing settles.
    opening: Option<Opening>,
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

type Opening = BoxFuture<'static, TransportResult<Open>>;

/// How long a consumer that is being opened may hold up the end of its subscription.
const SEEN_THROUGH: Duration = Duration::from_secs(2);

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
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and a box for each message would cost more"
)]
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
        queue: Queue,
        tag: &str,
        prefetch: u16,
    ) -> Self {
        let (wanted, pause, tag) = (consumers.enter(queue.name()), FIRST_PAUSE, tag.to_owned());
        let (open, opening, consumers) = (None, None, consumers.clone());
        Self { link, topology, consumers, queue, tag, prefetch, open, opening, wanted, pause }
    }

    /// The next message. Waits as long as it takes; safe to cancel.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(opening) = &mut self.opening {
                let opened = opening.await;
                self.opening = None;
                self.opened(opened).await;
            }
            let Some(open) = &mut self.open else {
                let live = self.link.live().await;
                // Counts it before it is open: a look at the
                // queue must not take it for another node's.
                let counted = self.consumers.count(self.queue.name());
                let (topology, queue, tag) =
                    (Arc::clone(&self.topology), self.queue.clone(), self.tag.clone());
                self.opening =
                    Some(Box::pin(open(live, topology, queue, tag, self.prefetch, counted)));
                continue;
            };
            if let Some(delivery) = open.held.take() {
                return delivery;
            }
            match open.came().await {
                Came::Message(inner) => {
                    open.acks.begin(inner.delivery_tag);
                    let delivery = Delivery::new(inner, &self.queue, &open.acks);
                    open.is_suspect = delivery.is_suspect();
                    let is_calm = open.narrow_until.is_some_and(|until| until <= Instant::now());
                    if !is_calm || open.is_suspect {
                        return delivery;
                    }
                    // The head of the queue is clean: the others may come beside each other.
                    open.held = Some(delivery);
                    self.widen();
                }
                Came::Calm => self.widen(),
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
    fn widen(&mut self) {
        if let Some(open) = self.open.take() {
            self.opening =
                Some(Box::pin(open.widened(self.queue.clone(), self.tag.clone(), self.prefetch)));
        }
    }

    async fn opened(&mut self, opened: TransportResult<Open>) {
        match opened {
            Ok(open) => {
                (self.open, self.pause) = (Some(open), FIRST_PAUSE);
                self.wanted.opened();
            }
            Err(error) if self.wanted.is_open() => {
                tracing::debug!(queue = self.queue.name(), %error, "A consumer could not be widened; it begins anew.");
                self.wanted.closed();
            }
            Err(error) => self.wait(&error).await,
        }
    }

    /// Says once why the queue cannot be consumed, and waits a while.
    async fn wait(&mut self, error: &TransportError) {
        // Stays silent without a connection: the link has told the reason.
        if self.link.is_live() && self.wanted.failed(&error.to_string()) {
            tracing::warn!(queue = self.queue.name(), %error, "A queue cannot be consumed; trying again.");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Tells RabbitMQ to send nothing more, and answers the messages at hand, which are the caller's to settle.
    pub async fn cancel(&mut self) -> Vec<Delivery> {
        // Said first: from here on, this node's gateway refuses requests for the queue.
        self.wanted.leave();
        if let Some(opening) = self.opening.take() {
            match tokio::time::timeout(SEEN_THROUGH, opening).await {
                Ok(opened) => self.open = opened.ok(),
                // With the connection, the consumer goes too.
                Err(_) => drop(self.link.now().map(|live| self.link.rebuild(&live))),
            }
        }
        let Some(mut open) = self.open.take() else { return Vec::new() };
        let cancelled =
            open.channel.basic_cancel(open.consumer.tag(), BasicCancelOptions::default());
        if tokio::time::timeout(Duration::from_secs(1), cancelled).await.is_err() {
            tracing::debug!(queue = self.queue.name(), "RabbitMQ did not answer the cancel.");
        }
        self.wanted.closed();
        let mut at_hand: Vec<Delivery> = open.held.take().into_iter().collect();
        // Messages that RabbitMQ sent before it had the cancel are in the consumer already.
        while let Some(Some(Ok(inner))) = open.consumer.next().now_or_never() {
            open.acks.begin(inner.delivery_tag);
            at_hand.push(Delivery::new(inner, &self.queue, &open.acks));
        }
        open.acks.idle();
        at_hand
    }
}

async fn open(
    live: Arc<Live>,
    topology: Arc<Topology>,
    queue: Queue,
    tag: String,
    prefetch: u16,
    counted: Counted,
) -> TransportResult<Open> {
    let channel = live.connection.create_channel().await?;
    // Declares the queue at each attempt: one that was deleted is there again at once.
    let found = topology.declare_queue(&channel, &queue).await?;
    let kind = queue.kind();
    // After a crash its messages come back to the head of the queue, a moment after their connection has gone, and one of them
    // may have been the cause. Handed out together, the others would be counted with it, and become dead letters with it.
    let is_narrow = kind == QueueKind::Durable && found.messages > 0;
    let narrow_until = is_narrow.then(|| Instant::now() + CALM);
    let at_first = if narrow_until.is_some() { 1 } else { prefetch };
    let consumer = consume(&channel, &queue, &tag, at_first).await?;
    // Writes need not be done with in order: each waits for its own reports.
    let group =
        if kind == QueueKind::Volatile { (prefetch / 4).clamp(1, MOST_TOGETHER) } else { 1 };
    let acks = Arc::new(Acks::new(channel.clone(), usize::from(group)).counted(counted));
    Ok(Open { channel, consumer, acks, narrow_until, is_suspect: false, held: None })
}

impl Open {
    /// Consumes with the whole prefetch. The old consumer goes first.
    async fn widened(mut self, queue: Queue, tag: String, prefetch: u16) -> TransportResult<Self> {
        let wide = async {
            self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default()).await?;
            // It may have got one message more.
            if let Some(Some(Ok(inner))) = self.consumer.next().now_or_never() {
                self.acks.begin(inner.delivery_tag);
                self.held = Some(Delivery::new(inner, &queue, &self.acks));
            }
            consume(&self.channel, &queue, &tag, prefetch).await
        };
        match wide.await {
            Ok(consumer) => Ok(Self { consumer, narrow_until: None, ..self }),
            Err(error) => {
                // The channel may live where only the consumer has gone.
                self.acks.idle();
                Err(error)
            }
        }
    }

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

async fn consume(
    channel: &Channel,
    queue: &Queue,
    tag: &str,
    prefetch: u16,
) -> TransportResult<Consumer> {
    // RabbitMQ applies this prefetch to consumers that begin later, so a wider one begins anew.
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    // A tag is unique in its channel, and a widened consumer follows the old one there.
    let tag = format!("{tag}.{}", uuid::Uuid::new_v4().simple());
    let options = BasicConsumeOptions::default();
    Ok(channel
        .basic_consume(queue.name().into(), tag.into(), options, FieldTable::default())
        .await?)
}
