//! One message, from its bytes to its acknowledgement. The order at the end is the promise: the database has committed,
//! then the reply is on its way, then RabbitMQ has the records of it, then the message is acknowledged.
//!
//! Not here: reads (worker/reads.rs), writes (worker/writes.rs), the acts at the end (worker/settle.rs).

mod doubt;
mod ending;
mod proof;
mod reads;
mod settle;
mod unanswered;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::{
    Attempt, BedsError, Complaints, ErrorKind, Event, EventId, Gatekeeper, Operation, Result,
    Unproved,
};
use beds_transport::topology::DELIVERY_LIMIT;
use beds_transport::{Delivery, Notices, Publisher};
use fail::fail_point;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Level;

use super::PoolSpec;
use super::report::{Begun, Reporter};
use crate::Factory;
use crate::dispatch::dispatch;
use proof::Proof;
use settle::Taken;

/// How long a reply may take to leave. A worker never waits longer for a publisher that RabbitMQ has blocked.
const REPLY_PATIENCE: Duration = Duration::from_secs(1);

const NOT_BEGUN: &str = "the deadline passed before the work began; not executed";

pub(super) struct Worker<'t> {
    pub(super) pool: &'t PoolSpec,
    pub(super) publisher: &'t Publisher,
    pub(super) factory: &'t Factory,
    pub(super) reporter: Reporter<'t>,
    /// Messages that are done with and wait until their records are confirmed.
    pub(super) recording: &'t TaskTracker,
    pub(super) complaints: &'t Complaints,
    pub(super) stop: &'t CancellationToken,
    pub(super) notices: &'t Notices,
    /// Knows the credentials of publishers.
    pub(super) gate: &'t dyn Gatekeeper,
}

/// The reason why a message was not read.
enum Unread {
    Unproved(Unproved),
    /// It is proved, and no event for this queue.
    Malformed(Box<(BedsError, Proof)>),
}

impl Worker<'_> {
    pub(super) async fn handle(&self, delivery: &Arc<Delivery>) {
        let begun = Begun::now();
        let (event, proof) = match self.read_message(delivery) {
            Ok(read) => read,
            Err(Unread::Unproved(unproved)) => {
                return self.refuse_unproved(delivery, unproved).await;
            }
            Err(Unread::Malformed(read)) if Event::is_of_later_release(delivery.body()) => {
                let (error, proof) = *read;
                return self.wait_for_later_release(delivery, &error, &proof).await;
            }
            Err(Unread::Malformed(read)) => {
                let (error, proof) = *read;
                return self.bury_unread(delivery, "malformed", &error, proof.actor()).await;
            }
        };
        fail_point!("received", |_| die());
        let taken = self.taken(delivery, begun, event, proof);
        match self.pool.key.is_write() {
            true => self.write(&taken).await,
            false => self.read(&taken).await,
        }
    }

    /// Ends a message whose handling panicked.
    pub(super) async fn after_panic(&self, delivery: &Arc<Delivery>, panic: &str) {
        let text = match self.pool.key.is_write() {
            true => {
                "the handler failed repeatedly; a write may have taken effect, so repeat it with the same Idempotency-Key"
            }
            false => "the handler failed; the node's log has the cause",
        };
        let error = BedsError::new(ErrorKind::Internal, text).with_source(panic.to_owned());
        let taken = self
            .read_message(delivery)
            .map(|(event, proof)| self.taken(delivery, Begun::now(), event, proof));
        match (self.pool.key.is_write(), taken) {
            (true, Ok(taken)) => self.give_back_after_panic(&taken, &error).await,
            (false, Ok(taken)) => self.refuse_after_panic(&taken, &error).await,
            (true, Err(_)) if delivery.deliveries() < DELIVERY_LIMIT => delivery.requeue(),
            (true, Err(Unread::Malformed(read))) => {
                self.bury_unread(delivery, "panic", &error, read.1.actor()).await;
            }
            (true, Err(Unread::Unproved(unproved))) => {
                self.refuse_unproved(delivery, unproved).await;
            }
            (false, Err(_)) => {
                self.refuse(delivery, &EventId(delivery.message_id().to_owned()), &error).await;
                delivery.ack();
            }
        }
    }

    /// The event of a message in the name of its proved caller, and the proof.
    fn read_message(&self, delivery: &Delivery) -> std::result::Result<(Event, Proof), Unread> {
        let proof = self.proof(delivery).map_err(Unread::Unproved)?;
        match self.envelope(delivery) {
            Ok(event) => proof.apply(event).map(|event| (event, proof)).map_err(Unread::Unproved),
            Err(error) => Err(Unread::Malformed(Box::new((error, proof)))),
        }
    }

    /// Reads the envelope, and checks that it belongs into this queue.
    fn envelope(&self, delivery: &Delivery) -> Result<Event> {
        let most = self.pool.max_event_bytes;
        if delivery.body().len() > most {
            let text = format!("the event has more than {most} bytes (amqp.max_event_bytes)");
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        let event = Event::from_slice(delivery.body())?;
        let is_of_queue = event.operation.is_write() == self.pool.key.is_write();
        let is_job = event.operation == Operation::Job;
        // A ticket can be asked for any operation, and a job with a ticket only.
        if !self.pool.key.is_of_tickets() && (!is_of_queue || is_job) {
            let text = format!(
                "the operation {} does not belong into the queue {}",
                event.operation, self.pool.key
            );
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        Ok(event)
    }

    fn taken<'m>(
        &self,
        delivery: &'m Arc<Delivery>,
        begun: Begun,
        event: Event,
        proof: Proof,
    ) -> Taken<'m> {
        // Work that this worker does not wait for any more must not be committed either.
        let mut attempt = Attempt::new(event, self.pool.handler_timeout);
        attempt.is_awaited = delivery.reply_to().is_some();
        let attempt = Arc::new(attempt);
        Taken { delivery, begun, attempt, proof }
    }

    /// Lets the adapter work for at most `patience`, unless the work cannot begin.
    async fn work(
        &self,
        taken: &Taken<'_>,
        patience: Duration,
        call: impl Future<Output = Result<Answer>>,
    ) -> Result<Answer> {
        let event = &taken.attempt.event;
        if patience.is_zero() {
            return Err(BedsError::new(ErrorKind::DeadlineExceeded, NOT_BEGUN));
        }
        if !self.may_begin(event) {
            return Err(not_recorded());
        }
        let work = async {
            fail_point!("panic", event.params.contains_key("panic_for_test"), |_| panic!(
                "a panic for a test"
            ));
            fail_point!("poison", event.params.contains_key("abort_for_test"), |_| {
                die();
                Err(not_recorded())
            });
            call.await
        };
        // A write that is cut off here may have been committed, so its outcome is unknown.
        tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// One call of the adapter.
    async fn call(&self, taken: &Taken<'_>) -> Result<Answer> {
        dispatch(self.factory, &taken.attempt, &self.pool.key).await
    }

    /// Failures that an operator must know of are logged here, each cause once a minute; a caller's mistake is told to the
    /// caller only.
    fn log(&self, event: &Event, error: &BedsError) {
        let source = error.source.as_ref().map(ToString::to_string);
        let (id, template, operation, code) =
            (&event.event_id.0, &event.template, event.operation.as_str(), error.code());
        let level = level(error.kind);
        if level == Level::DEBUG {
            return tracing::debug!(
                event.id = id,
                template,
                operation,
                code,
                "An event was refused."
            );
        }
        let fetch = event.fetch.as_deref().unwrap_or_default();
        // Of an event that was not begun, the names are its publisher's choice: they must not fill the table of causes.
        let cause = match error.message.as_str() {
            NOT_BEGUN => NOT_BEGUN.to_owned(),
            _ => format!("{template} {operation} {fetch} {code}"),
        };
        let Some(before) = self.complaints.say(&cause) else {
            return tracing::debug!(
                event.id = id,
                template,
                operation,
                code,
                source,
                "An event failed as others did."
            );
        };
        // The message describes the answer of the object, and holds no value.
        let detail = (error.kind == ErrorKind::WrongAnswer).then_some(error.message.as_str());
        if level == Level::ERROR {
            tracing::error!(
                event.id = id,
                template,
                operation,
                code,
                source,
                detail,
                before,
                "An event failed."
            );
        } else {
            tracing::warn!(
                event.id = id,
                template,
                operation,
                code,
                source,
                before,
                "An event was not completed."
            );
        }
    }

    /// False where the work must be recorded and cannot be.
    fn may_begin(&self, event: &Event) -> bool {
        let reports = self.reporter.reports;
        (reports.enabled().audit && reports.can_audit())
            || !self.factory.is_audit_required(&event.template)
    }

    fn late(&self) -> BedsError {
        match self.pool.key.is_write() {
            true => BedsError::new(
                ErrorKind::OutcomeUnknown,
                "the deadline passed while the write was running; repeat it with the same Idempotency-Key",
            ),
            false => BedsError::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed while the read was running",
            ),
        }
    }
}

/// How loud a failure is told.
fn level(kind: ErrorKind) -> Level {
    match kind {
        ErrorKind::Internal | ErrorKind::TemplateUnusable | ErrorKind::WrongAnswer => Level::ERROR,
        kind if kind.status() >= 500 => Level::WARN,
        _ => Level::DEBUG,
    }
}

fn not_recorded() -> BedsError {
    let text = "work with this template must be recorded, and no record can be queued now; nothing was changed";
    BedsError::new(ErrorKind::Unavailable, text)
}

/// For tests: the moment between the work and its answer.
async fn after_work() {
    fail_point!("committed", |_| die());
    if let Some(wait) = lateness() {
        tokio::time::sleep(wait).await;
    }
}

/// For tests of answers that leave when their callers have stopped waiting. The fail point's own sleep would hold up the
/// thread, and with it the clock by which a caller stops.
fn lateness() -> Option<Duration> {
    fail_point!("late", |millis| millis
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis));
    None
}

/// For tests of crashes: no destructor runs, no connection is closed cleanly.
#[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "only fail points call it"))]
fn die() {
    std::process::abort();
}
