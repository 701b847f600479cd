//! [`Publisher`]: messages out. Not here: the meaning of a loss for the message ([`TransportError`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::ReplyRef;
use beds_core::traceparent::TRACEPARENT;
use beds_core::{Actor, Event, ReportStream, RoutingKey};
use futures_util::FutureExt;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Confirmation, PublisherConfirm};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::awaited::Awaited;
use crate::consume::{IN_DOUBT, WAITS};
use crate::link::{Link, Live, Through};
use crate::marks::{ACTOR, Marks};
use crate::outbox::Outbox;
use crate::topology::stream::CHANGES;
use crate::topology::{self, DEAD, EVENTS, LOGS, NOTICES, UNPROVED};
use crate::{Delivery, Guards, TransportError, TransportResult, Waited};

const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;
/// RabbitMQ closes the channel of a publisher that asks for more.
const MOST_MILLIS: u128 = u32::MAX as u128;
/// Bytes of the text that goes with a dead letter. All headers have to fit into one frame.
const MAX_DETAIL: usize = 1024;

#[derive(Clone)]
pub struct Publisher {
    link: Link,
    confirm_timeout: Duration,
    marks: Marks,
    tasks: TaskTracker,
    /// Sees rare messages through, one after the other.
    rare: Outbox,
}

/// The message that RabbitMQ gave back as unroutable, where it told the publisher of another one.
pub(crate) type Returned = Option<ShortString>;

impl Publisher {
    pub(crate) fn new(
        link: Link,
        confirm_timeout: Duration,
        marks: Marks,
        guards: &Guards,
        tasks: TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        // Sends one at a time: lapin can give a returned
        // message to the next confirm (decision 0016).
        let (rare, sending) = Outbox::new(1, guards);
        tasks.spawn(stop.clone().run_until_cancelled_owned(sending));
        Self { link, confirm_timeout, marks, tasks, rare }
    }

    /// False where a message without proof is believed.
    pub fn needs_proof(&self) -> bool {
        self.marks.seal.needs_proof()
    }

    /// True where a node has sealed the message for its queue.
    pub fn is_sealed(&self, delivery: &Delivery) -> bool {
        delivery.is_sealed(&self.marks)
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Publishes a request and waits until RabbitMQ has it: mandatory and confirmed, so that a full queue or a missing
    /// binding is known at once. The future is the caller's to run; it borrows nothing.
    pub(crate) fn request(
        &self,
        event: &Event,
        key: &RoutingKey,
        reply_to: &str,
    ) -> TransportResult<impl Future<Output = TransportResult<Returned>> + Send + use<>> {
        let body = serde_json::to_vec(event).map_err(|_| TransportError::Refused)?;
        let id = ShortString::from(event.event_id.0.as_str());
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type(key.as_str().into())
            .with_message_id(id.clone())
            .with_correlation_id(id)
            .with_reply_to(reply_to.into())
            // Reads need no disk: a read that is lost with RabbitMQ is safe to repeat.
            .with_delivery_mode(if key.is_write() { PERSISTENT } else { TRANSIENT });
        if !key.is_write() {
            // A read without a waiting caller need not reach a worker.
            properties = properties
                .with_expiration(event.remaining().as_millis().min(MOST_MILLIS).to_string().into());
        }
        if let Some(trace) = event.origin.as_ref().and_then(|origin| origin.traceparent.as_deref())
        {
            let mut headers = FieldTable::default();
            headers.insert(TRACEPARENT.into(), AMQPValue::LongString(LongString::from(trace)));
            properties = properties.with_headers(headers);
        }
        let (publisher, key) = (self.clone(), key.clone());
        Ok(async move {
            publisher.confirmed(Through::Requests, EVENTS, key.as_str(), &body, properties).await
        })
    }

    /// Tells all nodes that something has happened to the thing with this name: the caller of an event has gone (its id), or a ticket has
    /// moved (`ticket.ID`). Best effort.
    pub fn tell(&self, name: &str) {
        let Ok(live) = self.usable() else { return };
        let (channel, key) = (live.unconfirmed.clone(), ShortString::from(name));
        let properties = self.marks.login(BasicProperties::default());
        self.tasks.spawn(async move {
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(NOTICES.into(), key, options, &[], properties).await;
            if let Err(error) = sent {
                tracing::debug!(%error, "A notice was not sent.");
            }
        });
    }

    /// Sends an answer to where the request asked for it, and waits until it is written. Best effort: the requester may be
    /// gone.
    ///
    /// `is_sealed`: a node has sealed the request, so its answer gets a seal too. Any other one could name the queue and the id of
    /// another request.
    pub async fn reply(
        &self,
        (reply_to, correlation_id): (&str, &str),
        reply: &ReplyRef<'_>,
        is_sealed: bool,
    ) -> TransportResult<()> {
        let (sending, live) = self.sending(reply_to, correlation_id, reply, is_sealed)?;
        // Awaited at once: lapin would keep a dropped one for ever.
        self.checked(sending.await, &live)?.await?;
        Ok(())
    }

    /// Hands an answer to the connection without waiting until it is written. Answers that pile up this way have no bound,
    /// so a caller waits for one in a few with [`Publisher::reply`]: then all before it are written too.
    pub fn reply_unwaited(
        &self,
        (reply_to, correlation_id): (&str, &str),
        reply: &ReplyRef<'_>,
        is_sealed: bool,
    ) -> TransportResult<()> {
        let (sending, live) = self.sending(reply_to, correlation_id, reply, is_sealed)?;
        // Polls once, which hands the answer to the connection;
        // only the wait for the socket is left out.
        sending.now_or_never().map_or(Ok(()), |sent| self.checked(sent, &live).map(drop))
    }

    fn sending<'a>(
        &self,
        reply_to: &'a str,
        correlation_id: &'a str,
        reply: &ReplyRef<'_>,
        is_sealed: bool,
    ) -> TransportResult<(impl Future<Output = lapin::Result<PublisherConfirm>> + use<'a>, Arc<Live>)>
    {
        // The other queues of BEDS, such as that for the name of a node, are no place for answers.
        let is_of_beds =
            reply_to.starts_with("beds.") && !reply_to.starts_with(topology::REPLY_PREFIX);
        if reply_to.is_empty() || is_of_beds || topology::is_data_queue(reply_to) {
            return Err(TransportError::Unroutable);
        }
        let body = serde_json::to_vec(reply).map_err(|_| TransportError::Refused)?;
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type("reply".into())
            .with_correlation_id(correlation_id.into());
        // Nodes believe sealed answers only; a client has no key to look at one with.
        let properties = match is_sealed && reply_to.starts_with(topology::REPLY_PREFIX) {
            true => self.marks.mark("", reply_to, properties, &body),
            false => self.marks.login(properties),
        };
        let live = self.usable()?;
        let channel = live.unconfirmed.clone();
        let sending = async move {
            // Answers are not mandatory: RabbitMQ drops
            // one without a queue, and sends no return.
            let options = BasicPublishOptions::default();
            channel.basic_publish("".into(), reply_to.into(), options, &body, properties).await
        };
        Ok((sending, live))
    }

    /// Puts a message among the dead letters with the reason, and waits until RabbitMQ has it there. `actor` is its proved caller,
    /// where the body does not name it.
    pub async fn dead_letter(
        &self,
        delivery: &Delivery,
        reason: &str,
        detail: &str,
        actor: Option<&Actor>,
    ) -> TransportResult<()> {
        // The publisher's own headers stay behind: they could name a false reason or queue.
        let mut headers = told(delivery, reason, detail);
        if let Some(actor) = actor_text(actor) {
            headers.insert(ACTOR.into(), actor);
        }
        let deliveries = i64::from(delivery.deliveries());
        headers.insert("beds-deliveries".into(), AMQPValue::LongLongInt(deliveries));
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(delivery.message_id().into());
        self.alone(DEAD, delivery.queue(), delivery.body(), properties).await
    }

    /// Puts a message into [`topology::WAITING`] or [`topology::LATER`], and waits until RabbitMQ has it there. It comes back to its
    /// queue after [`topology::LONGEST_WAIT`] at the latest.
    pub async fn wait(
        &self,
        delivery: &Delivery,
        exchange: &'static str,
        pause: Duration,
        waited: Waited,
        actor: Option<&Actor>,
    ) -> TransportResult<()> {
        let mut headers = FieldTable::default();
        if let Some(actor) = actor_text(actor) {
            headers.insert(ACTOR.into(), actor);
        }
        headers.insert(WAITS.into(), AMQPValue::LongUInt(waited.times));
        if waited.is_in_doubt {
            headers.insert(IN_DOUBT.into(), AMQPValue::Boolean(true));
        }
        if let Some(trace) = delivery.traceparent() {
            headers.insert(TRACEPARENT.into(), AMQPValue::LongString(LongString::from(trace)));
        }
        let properties = delivery.essence().with_headers(headers).with_delivery_mode(PERSISTENT);
        let properties = properties.with_expiration(pause.as_millis().to_string().into());
        self.alone(exchange, delivery.queue(), delivery.body(), properties).await
    }

    /// Keeps the message of a publisher who has proved nothing, apart from all others. The oldest of these go first.
    pub async fn keep_unproved(&self, delivery: &Delivery, reason: &str) -> TransportResult<()> {
        let properties = BasicProperties::default()
            .with_headers(told(delivery, "unproved", reason))
            .with_delivery_mode(PERSISTENT)
            .with_message_id(delivery.message_id().into());
        self.alone("", UNPROVED, delivery.body(), properties).await
    }

    /// Publishes an event as it is, and waits until RabbitMQ has it.
    pub(crate) async fn event(
        &self,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> TransportResult<()> {
        self.alone(EVENTS, key, body, properties.with_delivery_mode(PERSISTENT)).await
    }

    /// Publishes a batch of a lane, and waits until RabbitMQ has it. `id` stays the same when the batch is sent again.
    pub(crate) async fn lane(
        &self,
        stream: ReportStream,
        key: &str,
        id: &str,
        body: &[u8],
    ) -> TransportResult<()> {
        self.confirmed(Through::Lane(stream), LOGS, key, body, of_records(key, id)).await.map(drop)
    }

    /// Publishes a change, and waits until RabbitMQ has it. Of several that are polled one after the other, the stream has them in that
    /// order.
    pub async fn change(&self, key: &str, id: &str, body: &[u8]) -> TransportResult<()> {
        self.confirmed(Through::Changes, CHANGES, key, body, of_records(key, id)).await.map(drop)
    }

    /// Publishes a message of a gateway's own into the stream of changes, and waits until RabbitMQ has it.
    pub(crate) async fn canary(&self, key: &str, id: &str) -> TransportResult<()> {
        self.alone(CHANGES, key, b"{}", of_records(key, id)).await
    }

    /// Publishes records beside the lanes, and waits until RabbitMQ has them.
    pub(crate) async fn records(&self, key: &str, id: &str, body: &[u8]) -> TransportResult<()> {
        self.alone(LOGS, key, body, of_records(key, id)).await
    }

    /// Publishes when the messages before it are confirmed. It is seen through even if the caller goes away.
    async fn alone(
        &self,
        exchange: &'static str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> TransportResult<()> {
        let (publisher, key, body) = (self.clone(), key.to_owned(), body.to_vec());
        let (tell, told) = oneshot::channel();
        self.rare.take(async move {
            let sent = publisher.confirmed(Through::Rare, exchange, &key, &body, properties).await;
            // Ignored where the caller has gone: the message was sent all the same.
            drop(tell.send(sent.map(drop)));
        })?;
        // A task that panicked or was stopped may have sent it, so "not sent" would be a guess.
        told.await.unwrap_or(Err(TransportError::Unconfirmed))
    }

    async fn confirmed(
        &self,
        through: Through,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> TransportResult<Returned> {
        let live = self.usable()?;
        let properties = self.marks.mark(exchange, key, properties, body);
        let id = properties.message_id().clone();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let channel = live.confirmed(through);
        let sent =
            channel.basic_publish(exchange.into(), key.into(), options, body, properties).await;
        let mut confirm = Awaited::new(self.checked(sent, &live)?, &self.tasks);
        match tokio::time::timeout(self.confirm_timeout, confirm.wait()).await {
            Ok(Ok(Confirmation::Ack(Some(back)) | Confirmation::Nack(Some(back))))
                if *back.delivery.properties.message_id() == id =>
            {
                Err(TransportError::Unroutable)
            }
            // lapin hands a returned message to the confirm that is next.
            Ok(Ok(Confirmation::Ack(other))) => {
                Ok(other.and_then(|other| other.delivery.properties.message_id().clone()))
            }
            Ok(Ok(Confirmation::Nack(_))) => Err(TransportError::Refused),
            Ok(Err(error)) => {
                tracing::debug!(%error, "A channel broke before it confirmed a message.");
                // The whole connection goes with its channel: that
                // is rare, and one way of recovery is enough.
                self.link.rebuild(&live);
                Err(TransportError::Unconfirmed)
            }
            // Without confirm mode nothing is known; the link selects it on every such channel.
            Ok(Ok(Confirmation::NotRequested)) | Err(_) => Err(TransportError::Unconfirmed),
        }
    }

    fn usable(&self) -> TransportResult<Arc<Live>> {
        let live = self.link.now()?;
        // Refuses before it sends: the caller gets 503 at once, and "not executed" is certain.
        if live.connection.status().blocked() {
            return Err(TransportError::Blocked);
        }
        Ok(live)
    }

    /// A publish that could not even be handed to the channel was not sent; the channel is then broken.
    fn checked<T>(&self, sent: lapin::Result<T>, live: &Arc<Live>) -> TransportResult<T> {
        sent.map_err(|error| {
            tracing::debug!(%error, "A channel does not take publishes any more.");
            self.link.rebuild(live);
            TransportError::NotConnected
        })
    }
}

/// The headers of a message that is kept: no header of its publisher's is among them.
fn told(delivery: &Delivery, reason: &str, detail: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    let detail = &detail[..detail.floor_char_boundary(MAX_DETAIL)];
    for (name, value) in
        [("beds-reason", reason), ("beds-detail", detail), ("beds-queue", delivery.queue())]
    {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    headers
}

fn actor_text(actor: Option<&Actor>) -> Option<AMQPValue> {
    let text = serde_json::to_string(actor?).ok()?;
    Some(AMQPValue::LongString(LongString::from(text)))
}

fn of_records(key: &str, id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_type(key.into())
        .with_message_id(id.into())
        .with_delivery_mode(PERSISTENT)
}
