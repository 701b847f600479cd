//! [`Client`]: the handle of an application. A template opened through it is a [`NamasteCore`] whose records are on the
//! other side of the queue. The gateway uses nothing else.
//!
//! Not here: how a message leaves and an answer comes back, which is `publish`'s and `reply_desk`'s.

mod context;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use beds_core::reply::Answer;
use beds_core::ticket::Ticket;
use beds_core::{
    Actor, BedsError, ErrorKind, Event, EventId, NamasteCore, Operation, Payload, Query, Reply,
    Response, Result, RoutingKey, Templates, config,
};
use tokio::sync::Semaphore;

pub use context::{Asked, Cause, Context};

use crate::dead_letters::DeadLetters;
use crate::outbox::{self, Outbox};
use crate::queues::Queues;
use crate::reply_desk::ReplyDesk;
use crate::requester_lineage::{Begun, report_denied, report_refused, report_running};
use crate::topology::stream::CANARY_PREFIX;
use crate::{
    ChangeLog, Guards, LogStart, Publisher, Reports, Transport, TransportError, TransportResult,
    Watched,
};

/// A request that has no answer by then is reported as running.
const SHOWN_AS_RUNNING: Duration = Duration::from_millis(500);

/// Reaches templates through RabbitMQ.
#[derive(Clone)]
pub struct Client {
    publisher: Publisher,
    desk: ReplyDesk,
    outbox: Outbox,
    queues: Queues,
    /// Lends the notices, which most clients never need.
    transport: Transport,
    reports: Reports,
    dead_letter_passes: Arc<Semaphore>,
    /// The templates by whose stores calls find their queues.
    templates: Arc<ArcSwap<Templates>>,
    node: Arc<str>,
    /// The node itself, for calls in its own name.
    as_node: Arc<Actor>,
    environment: Arc<str>,
}

/// A request that is not sent.
pub struct Refused<'r> {
    /// None where the caller may not know of it.
    pub template: Option<&'r str>,
    pub operation: Operation,
    /// Of the record that is asked for.
    pub id: Option<&'r str>,
    /// Requests of the same caller that were refused as well and have no record of their own.
    pub unrecorded: u64,
}

impl Client {
    pub(crate) fn start(
        transport: &Transport,
        environment: &str,
        reports: &Reports,
        templates: Arc<ArcSwap<Templates>>,
    ) -> Self {
        let node = &*transport.node;
        let (link, marks) = (transport.consuming.clone(), transport.publisher.marks().clone());
        let (desk, clerk) = ReplyDesk::new(link, marks, node, reports.clone(), &transport.guards);
        transport.tasks.spawn(transport.stop.clone().run_until_cancelled_owned(clerk));
        let (outbox, sending) = Outbox::new(outbox::MOST, &transport.guards);
        transport.tasks.spawn(transport.stop.clone().run_until_cancelled_owned(sending));
        let (publisher, reports, queues) =
            (transport.publisher.clone(), reports.clone(), transport.queues.clone());
        let look = (
            queues.clone(),
            transport.consuming.clone(),
            Arc::clone(&transport.topology),
            Arc::clone(&templates),
        );
        let look =
            move || look.0.clone().serve(look.1.clone(), Arc::clone(&look.2), Arc::clone(&look.3));
        let look = transport.guards.clone().forever("the look at the queues", look);
        transport.tasks.spawn(transport.stop.clone().run_until_cancelled_owned(look));
        Self {
            publisher,
            desk,
            outbox,
            queues,
            transport: transport.clone(),
            reports,
            dead_letter_passes: Arc::new(Semaphore::new(1)),
            templates,
            node: Arc::from(node),
            as_node: Arc::new(Actor::of_node(format!("node:{node}"))),
            environment: Arc::from(environment),
        }
    }

    /// Waits until answers can be received, and the queues of the templates' databases are there.
    pub async fn ready(&self) {
        tokio::join!(self.desk.ready(), self.queues.ready());
    }

    /// The keys of the templates' databases: first those whose queues have a consumer, then the others.
    pub fn served(&self) -> (Vec<RoutingKey>, Vec<RoutingKey>) {
        self.queues.served()
    }

    /// The first queue that RabbitMQ does not let this node have, and why.
    pub fn refused_queue(&self) -> Option<String> {
        self.queues.refused()
    }

    /// True where a node takes requests for tickets.
    pub fn takes_tickets(&self) -> bool {
        self.queues.has_consumer(&RoutingKey::tickets())
    }

    /// Tells all nodes that something has happened to the thing with this name. Best effort.
    pub fn tell(&self, name: &str) {
        self.publisher.tell(name);
    }

    /// Watches for word of a thing, such as `ticket.ID`.
    pub fn watch(&self, name: &str) -> Watched {
        self.transport.notices().enter(name)
    }

    /// Begins to read the stream of changes, once there is a connection.
    ///
    /// # Errors
    /// The channel broke at once, or the stream is not there.
    pub async fn change_log(&self, start: LogStart) -> TransportResult<ChangeLog> {
        self.transport.change_log(start).await
    }

    /// Puts a mark of this node into the stream of changes, by which its reader sees that it is at the end. `id` is in its key.
    ///
    /// # Errors
    /// RabbitMQ does not have it for certain.
    pub async fn canary(&self, id: &str) -> TransportResult<()> {
        self.publisher.canary(&format!("{CANARY_PREFIX}{id}"), id).await
    }

    /// False where a message without proof is believed.
    pub fn needs_proof(&self) -> bool {
        self.publisher.needs_proof()
    }

    /// Keeps the work of the node going.
    pub fn guards(&self) -> &Guards {
        self.transport.guards()
    }

    /// The reports of this client's node about itself.
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// True while requests can be sent and answered.
    pub fn is_ready(&self) -> bool {
        self.publisher.link().is_live() && self.desk.queue().is_some()
    }

    /// The context of a new root event, in the name of this node. A gateway puts its caller in the place of it.
    pub fn context(&self, patience: Duration) -> Context {
        let event_id = EventId::new(&self.node, &self.environment);
        Context {
            event_id,
            cause: None,
            origin: None,
            actor: Arc::clone(&self.as_node),
            key: None,
            patience,
        }
    }

    /// Opens a template for one event. Whether there is such a template is told by its calls.
    pub fn open(&self, template: &str, context: Context) -> RemoteTemplate {
        RemoteTemplate {
            client: self.clone(),
            template: template.to_owned(),
            context,
            is_used: Arc::default(),
        }
    }

    /// The dead letters, gone through in a person's name. `inbox` says how long writes are remembered.
    pub fn dead_letters(&self, actor: Actor, inbox: config::Inbox) -> DeadLetters {
        let templates = self.templates.load_full();
        DeadLetters::new(
            &self.publisher,
            &self.reports,
            &self.dead_letter_passes,
            templates,
            actor,
            inbox,
        )
    }

    /// Reports a request that was refused before it became an event on the wire. `template` is None where there is no such
    /// template.
    pub fn refused(&self, context: &Context, refused: &Refused<'_>, error: &BedsError) {
        let template = refused.template.unwrap_or_default();
        let mut event = context.clone().event(template, refused.operation);
        event.id = refused.id.map(str::to_owned);
        report_refused(&self.reports, &event, error, refused.unrecorded);
    }

    /// Reports a request whose caller is not known, and how many like it have no record of their own.
    pub fn denied(&self, event_id: &EventId, address: &str, error: &BedsError, unrecorded: u64) {
        report_denied(&self.reports, event_id, address, error, unrecorded);
    }

    /// Asks for a ticket, or for a change of one, and answers the ticket. `asked` is the event without its context.
    ///
    /// # Errors
    /// Those of the request, before it is a ticket; [`ErrorKind::OutcomeUnknown`] where it may have become one.
    pub async fn ticket(&self, asked: Asked, context: Context) -> Result<Ticket> {
        let key = context.key.clone();
        let mut event = context.event(&asked.template, asked.operation);
        (event.job, event.fetch, event.id) = (asked.job, asked.fetch, asked.id);
        event.params = asked.params;
        // The same request gets the same ticket, whatever its operation.
        event.key = key;
        let answer = self.send(event, RoutingKey::tickets()).await?;
        let ticket = answer.records.first().map(|record| serde_json::from_str(record.get()));
        let unread = || BedsError::new(ErrorKind::Internal, "the ticket could not be read");
        ticket.ok_or_else(unread)?.map_err(|error| unread().with_source(error))
    }

    async fn call(&self, event: Event) -> Result<Answer> {
        let is_write = event.operation.is_write();
        let key = match self.templates.load().get(&event.template) {
            Ok(template) => RoutingKey::new(template.store, is_write, &template.database),
            Err(error) => {
                report_refused(&self.reports, &event, &error, 0);
                return Err(error);
            }
        };
        self.send(event, key).await
    }

    async fn send(&self, event: Event, key: RoutingKey) -> Result<Answer> {
        let is_write = key.is_write();
        let begun = Begun::now(&self.reports);
        let answered = self.exchange(&event, &key).await;
        if let Err(error) = &answered {
            begun.report_failure(&event, error, is_write);
            // RabbitMQ may have the request, so its answer can still come.
            if !error.is_not_executed() {
                self.desk.note_late(&event);
            }
        }
        let body = answered.map_err(|error| match error {
            // A write may have been taken before the last consumer went: its outcome stays unknown.
            TransportError::NoReply if !is_write && !self.queues.has_consumer(&key) => {
                unanswered(&key)
            }
            error => error.into_beds(is_write),
        })?;
        let reply: Reply = serde_json::from_slice(&body).map_err(|e| {
            BedsError::new(ErrorKind::Internal, "the reply could not be read").with_source(e)
        })?;
        reply.into_outcome()
    }

    /// Sends a request and waits for its answer. Sending is the outbox's: it is seen through to RabbitMQ's confirm
    /// even if the caller goes away, and the caller is woken once, by the answer or by the failure.
    async fn exchange(&self, event: &Event, key: &RoutingKey) -> Result<Vec<u8>, TransportError> {
        // Refuses before it publishes: without a consumer
        // the caller would wait for its deadline.
        if !self.queues.has_consumer(key) {
            return Err(TransportError::Unserved(key.clone()));
        }
        let reply_to = self.desk.queue().ok_or(TransportError::NotConnected)?;
        // Of a read: a write goes on without its caller.
        let mut leaving =
            Leaving { publisher: &self.publisher, id: &event.event_id.0, is_told: key.is_write() };
        let answered = self.answered(event, key, &reply_to).await;
        // The request has its end: a drop from here on sends no notice.
        leaving.is_told = true;
        if matches!(answered, Err(TransportError::Unroutable)) {
            self.queues.came_back(key);
        }
        answered
    }

    async fn answered(
        &self,
        event: &Event,
        key: &RoutingKey,
        reply_to: &str,
    ) -> Result<Vec<u8>, TransportError> {
        // Registers before it sends: an answer can be quicker than RabbitMQ's confirm.
        let mut expected = self.desk.expect(&event.event_id.0);
        let sending = self.publisher.request(event, key, reply_to)?;
        let (desk, id) = (self.desk.clone(), event.event_id.clone());
        self.outbox.take(async move {
            match sending.await {
                Err(error) => desk.fail(&id.0, error),
                // The confirm carried the return of another
                // request: that one found no queue (decision 0016).
                Ok(Some(other)) => desk.fail(other.as_str(), TransportError::Unroutable),
                Ok(None) => {}
            }
        })?;
        let patience = event.remaining();
        if patience > SHOWN_AS_RUNNING {
            match tokio::time::timeout(SHOWN_AS_RUNNING, expected.answer()).await {
                Ok(answer) => return answer,
                Err(_) => report_running(&self.reports, event),
            }
        }
        let answer = tokio::time::timeout(event.remaining(), expected.answer()).await;
        answer.unwrap_or(Err(TransportError::NoReply))
    }
}

/// A read that waited when the last node went.
fn unanswered(key: &RoutingKey) -> BedsError {
    let (store, database) = (key.store(), key.database());
    let text = format!(
        "no answer came before the deadline, and no node takes requests for the {store} database {database} now"
    );
    BedsError::new(ErrorKind::StoreUnavailable, text)
}

/// Tells the workers where a caller goes away before the answer has come.
struct Leaving<'c> {
    publisher: &'c Publisher,
    id: &'c str,
    is_told: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.publisher.tell(self.id);
        }
    }
}

/// A template on the other side of the queue, opened for one event. The first call is that event; each further one is an
/// event of its own, with the first one's parent, or with the first as parent where it has none.
#[derive(Clone)]
pub struct RemoteTemplate {
    pub(crate) client: Client,
    pub(crate) template: String,
    pub(crate) context: Context,
    /// The event's own id has been given to a call. Clones share it.
    pub(crate) is_used: Arc<AtomicBool>,
}

impl RemoteTemplate {
    fn event(&self, operation: Operation) -> Event {
        let mut context = self.context.clone();
        if self.is_used.swap(true, Ordering::Relaxed) {
            let next = EventId::new(&self.client.node, &self.client.environment);
            let first = std::mem::replace(&mut context.event_id, next);
            let cause = || Cause { event_id: first.clone(), root_id: first, depth: 0 };
            context.cause = Some(context.cause.unwrap_or_else(cause));
        }
        context.event(&self.template, operation)
    }
}

#[async_trait]
impl NamasteCore for RemoteTemplate {
    async fn create_record(&self, payload: &Payload) -> Result<Response> {
        let event = self.event(Operation::Create).with_payload(payload);
        self.client.call(event).await.map(Answer::into_response)
    }

    async fn fetch_records(&self, query: &Query) -> Result<Vec<Response>> {
        let event = self.event(query.operation()).with_query(query);
        self.client.call(event).await.map(Answer::into_responses)
    }

    async fn update_record(&self, payload: &Payload) -> Result<Response> {
        let event = self.event(Operation::Update).with_payload(payload);
        self.client.call(event).await.map(Answer::into_response)
    }

    async fn delete_record(&self, id: &str) -> Result<Response> {
        let event = self.event(Operation::Delete).with_id(id);
        self.client.call(event).await.map(Answer::into_response)
    }
}
