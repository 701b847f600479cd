//! RabbitMQ for the rivals: two connections, a queue, and [`Requester`], the asking half of request/reply.
//! The answering half is in `broker`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{ReplyBy, RivalOptions};

/// The answer of a consumer task: an HTTP status and the body for it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// How a request is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarantee {
    /// Not persistent, not confirmed, to a classic queue.
    None,
    /// Persistent, mandatory and confirmed, to a quorum queue.
    Confirmed,
}

/// The two connections of a rival.
pub(super) struct Amqp {
    publish: Connection,
    consume: Connection,
    reply: ReplyBy,
}

impl Amqp {
    pub(super) async fn connect(options: &RivalOptions) -> Result<Self> {
        let uri = format!("{}?heartbeat=10", options.amqp);
        let open = || Connection::connect(&uri, ConnectionProperties::default());
        let publish = open().await.context("connecting to RabbitMQ")?;
        let consume = open().await.context("connecting to RabbitMQ")?;
        Ok(Self { publish, consume, reply: options.reply })
    }

    pub(super) async fn publishing(&self) -> Result<Channel> {
        Ok(self.publish.create_channel().await?)
    }

    pub(super) async fn consuming(&self) -> Result<Channel> {
        Ok(self.consume.create_channel().await?)
    }

    /// Makes the requests' queue afresh. RabbitMQ removes it some minutes after the rival is gone.
    pub(super) async fn declare(&self, queue: &str, guarantee: Guarantee) -> Result<()> {
        let channel = self.consuming().await?;
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(600_000));
        if guarantee == Guarantee::Confirmed {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(5));
        }
        let durable = guarantee == Guarantee::Confirmed;
        let declare = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), declare, arguments).await?;
        Ok(())
    }

    /// Opens the asking half for one queue.
    pub(super) async fn requester(&self, queue: &str, guarantee: Guarantee) -> Result<Requester> {
        let channel = self.publishing().await?;
        if guarantee == Guarantee::Confirmed {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
        }
        let (reply_to, replies) = match self.reply {
            ReplyBy::Direct => {
                // Direct reply-to wants the consumer on the channel that publishes.
                let name = ShortString::from("amq.rabbitmq.reply-to");
                (name.clone(), consume_replies(&channel, name).await?)
            }
            ReplyBy::Queue => {
                let own = self.consuming().await?;
                let name =
                    ShortString::from(format!("bench.reply.{}", uuid::Uuid::new_v4().simple()));
                let exclusive =
                    QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
                own.queue_declare(name.clone(), exclusive, FieldTable::default()).await?;
                (name.clone(), consume_replies(&own, name).await?)
            }
        };
        let pending = Arc::new(Pending::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(deliver(replies, Arc::clone(&pending)));
        let next = AtomicU64::new(0);
        Ok(Requester {
            channel,
            queue: queue.into(),
            guarantee,
            reply_to,
            pending,
            next,
            _tasks: tasks,
        })
    }
}

async fn consume_replies(channel: &Channel, queue: ShortString) -> Result<Consumer> {
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    Ok(channel.basic_consume(queue, "replies".into(), no_ack, FieldTable::default()).await?)
}

/// Hands each reply to the request that waits for it.
async fn deliver(mut replies: Consumer, pending: Arc<Pending>) {
    while let Some(Ok(delivery)) = replies.next().await {
        let properties = &delivery.properties;
        let number = properties.correlation_id().as_ref().and_then(|id| id.as_str().parse().ok());
        let status = properties.kind().as_ref().and_then(|kind| kind.as_str().parse().ok());
        if let (Some(number), Some(status)) = (number, status)
            && let Some(waiting) = pending.take(number)
        {
            // The receiver is gone when the HTTP client is: this answer is unwanted.
            drop(waiting.send(Answer { status, body: delivery.data }));
        }
    }
}

/// The asking half: publishes a request and waits for its reply.
pub(super) struct Requester {
    channel: Channel,
    queue: ShortString,
    guarantee: Guarantee,
    reply_to: ShortString,
    pending: Arc<Pending>,
    next: AtomicU64,
    _tasks: JoinSet<()>,
}

impl Requester {
    /// Asks, and waits ten seconds at most. `key` travels as the message id.
    pub(super) async fn ask(&self, body: &[u8], key: Option<&str>) -> Result<Answer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let waiting = self.pending.insert(number);
        let mut properties = BasicProperties::default()
            .with_correlation_id(number.to_string().into())
            .with_reply_to(self.reply_to.clone());
        if let Some(key) = key {
            properties = properties.with_message_id(key.into());
        }
        let confirmed = self.guarantee == Guarantee::Confirmed;
        if confirmed {
            properties = properties.with_delivery_mode(2);
        }
        let options =
            BasicPublishOptions { mandatory: confirmed, ..BasicPublishOptions::default() };
        let confirm = self
            .channel
            .basic_publish("".into(), self.queue.clone(), options, body, properties)
            .await?;
        if confirmed && confirm.await? != Confirmation::Ack(None) {
            bail!("RabbitMQ did not take the request");
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), waiting.reply).await;
        Ok(answer.context("no reply in time")??)
    }
}

/// Requests that wait for their reply, by number.
#[derive(Default)]
struct Pending(Mutex<HashMap<u64, oneshot::Sender<Answer>>>);

impl Pending {
    fn insert(self: &Arc<Self>, number: u64) -> Waiting {
        let (sender, reply) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        Waiting { reply, _entry: Entry { number, pending: Arc::clone(self) } }
    }

    fn take(&self, number: u64) -> Option<oneshot::Sender<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

struct Waiting {
    reply: oneshot::Receiver<Answer>,
    _entry: Entry,
}

/// Takes the entry out of the table when the request ends, however it ends.
struct Entry {
    number: u64,
    pending: Arc<Pending>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pending.take(self.number);
    }
}
