//! The answering half of request/reply: consumer tasks that take a request, call MariaDB, reply, acknowledge.
//! The call belongs to each rival.

use std::future::Future;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use mysql_async::Pool;
use tokio::task::JoinSet;

use super::RivalOptions;
use super::amqp::{Amqp, Answer, Guarantee};

/// A database connection with its prepared statements, and the work that it does for one message.
pub(super) trait Session: Sized + Send + 'static {
    fn open(pool: &Pool) -> impl Future<Output = Result<Self>> + Send;
    fn work(&mut self, delivery: &Delivery) -> impl Future<Output = Result<Answer>> + Send;
}

/// Starts the consumer tasks. They end with the returned set.
pub(super) async fn start<S: Session>(
    amqp: &Amqp,
    pool: &Pool,
    options: &RivalOptions,
    queue: &str,
    guarantee: Guarantee,
) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for _ in 0..options.tasks {
        let requests = amqp.consuming().await?;
        requests.basic_qos(options.prefetch, BasicQosOptions::default()).await?;
        let replies = amqp.publishing().await?;
        let session = S::open(pool).await?;
        let task = Task {
            requests,
            replies,
            queue: queue.to_owned(),
            pool: pool.clone(),
            session,
            guarantee,
        };
        tasks.spawn(async move {
            if let Err(error) = task.run().await {
                drop(writeln!(std::io::stderr(), "a consumer task ended: {error:#}"));
            }
        });
    }
    Ok(tasks)
}

struct Task<S> {
    requests: Channel,
    replies: Channel,
    queue: String,
    pool: Pool,
    session: S,
    guarantee: Guarantee,
}

impl<S: Session> Task<S> {
    async fn run(mut self) -> Result<()> {
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let queue = self.queue.as_str().into();
        let mut requests =
            self.requests.basic_consume(queue, "".into(), options, arguments).await?;
        while let Some(delivery) = requests.next().await {
            let delivery = delivery?;
            match self.session.work(&delivery).await {
                Ok(answer) => self.answer(&delivery, &answer).await?,
                Err(error) => {
                    drop(writeln!(std::io::stderr(), "a request failed: {error:#}"));
                    let back =
                        BasicRejectOptions { requeue: self.guarantee == Guarantee::Confirmed };
                    self.requests.basic_reject(delivery.delivery_tag, back).await?;
                    self.session = S::open(&self.pool).await?;
                }
            }
        }
        bail!("RabbitMQ ended the consumer")
    }

    async fn answer(&mut self, delivery: &Delivery, answer: &Answer) -> Result<()> {
        let properties = &delivery.properties;
        let reply_to = properties.reply_to().clone().context("a request without reply_to")?;
        let correlation =
            properties.correlation_id().clone().context("a request without correlation_id")?;
        let about = BasicProperties::default()
            .with_correlation_id(correlation)
            .with_type(answer.status.to_string().into());
        let options = BasicPublishOptions::default();
        let reply = self.replies.basic_publish("".into(), reply_to, options, &answer.body, about);
        // `Channel::basic_ack` puts the frame out at once; `Delivery::ack` would go round through lapin's own task.
        let ack = self.requests.basic_ack(delivery.delivery_tag, BasicAckOptions::default());
        match self.guarantee {
            Guarantee::None => {
                tokio::try_join!(reply, ack)?;
            }
            Guarantee::Confirmed => {
                reply.await?;
                ack.await?;
            }
        }
        Ok(())
    }
}
