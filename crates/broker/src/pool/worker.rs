//! One message, from its bytes to its acknowledgement. The order at the end is the promise: the database has committed,
//! then the reply is on its way, then RabbitMQ has the records of it, then the message is acknowledged.
//!
//! Not here: writes in doubt (worker/doubt.rs), messages that wait (worker/unanswered.rs).

mod doubt;
mod unanswered;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use beds_core::audit::AuditRecord;
use beds_core::lineage::LineageRecord;
use beds_core::reply::Answer;
use beds_core::{BedsError, Complaints, ErrorKind, Event, EventId, Operation, Reply, Result};
use beds_transport::topology::{DELIVERY_LIMIT, LATER};
use beds_transport::{Delivery, Notices, Publisher};
use fail::fail_point;
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Level;

use super::PoolSpec;
use super::report::{Begun, Reporter};
use crate::Factory;
use crate::dispatch::dispatch;
use unanswered::{MOST_WAITS, Waits, has_waited_enough, is_in_doubt};

/// How long a reply may take to leave. A worker never waits longer for a publisher that RabbitMQ has blocked.
const REPLY_PATIENCE: Duration = Duration::from_secs(1);

/// One in so many answers of reads is waited for until it is written; the others are handed on. A write's always is.
const UNWAITED_REPLIES: u64 = 8;

const NOT_BEGUN: &str = "the deadline passed before the work began; not executed";
/// How often a read waits for a node of a later release: about a minute.
const MOST_WAITS_OF_A_READ: u32 = 10;

pub(super) struct Worker<'t> {
    pub(super) pool: PoolSpec,
    pub(super) publisher: &'t Publisher,
    pub(super) factory: &'t Factory,
    pub(super) reporter: Reporter<'t>,
    /// Messages that are done with and wait until their records are confirmed.
    pub(super) recording: &'t TaskTracker,
    pub(super) complaints: &'t Complaints,
    pub(super) stop: &'t CancellationToken,
    pub(super) notices: &'t Notices,
}

impl Worker<'_> {
    pub(super) async fn handle(&self, delivery: &Arc<Delivery>) {
        let begun = Begun::now();
        let event = match self.read(delivery) {
            Ok(event) => Arc::new(event),
            Err(error) if Event::is_of_later_release(delivery.body()) => return self.give_back(delivery, &error).await,
            Err(error) => return self.bury(delivery, None, "malformed", &error).await,
        };
        fail_point!("received", |_| die());
        if self.pool.key.is_write() && delivery.deliveries() >= DELIVERY_LIMIT {
            self.announce(delivery, &begun, &event).await;
        }
        let mut outcome = self.work(&event, delivery).await;
        fail_point!("committed", |_| die());
        if let Some(wait) = lateness() {
            tokio::time::sleep(wait).await;
        }
        let mut is_answered = false;
        outcome = match outcome {
            Err(error) => {
                self.log(&event, &error);
                if self.may_wait(delivery, &event, &error) {
                    return self.wait(delivery, is_in_doubt(&error, delivery)).await;
                }
                if self.is_certain(&error, &event, delivery) {
                    Err(error)
                } else {
                    // The caller of a write that may have happened need not wait until that is known.
                    is_answered = error.kind == ErrorKind::OutcomeUnknown;
                    if is_answered {
                        self.answer(delivery, &event.event_id, event.operation, Err(&error)).await;
                    }
                    match self.resolve(delivery, &event, error).await {
                        Some(found) => found,
                        None if delivery.reply_to().is_none() && !has_waited_enough(delivery, &event) => {
                            return self.wait(delivery, true).await;
                        }
                        None if delivery.reply_to().is_none() => Err(self.late()),
                        None => return delivery.requeue(),
                    }
                }
            }
            done => done,
        };
        match &outcome {
            _ if is_answered && delivery.reply_to().is_some() => {}
            Err(error) if self.pool.key.is_write() && delivery.reply_to().is_none() => {
                return self.bury(delivery, Some((&begun, &event)), "refused", error).await;
            }
            Ok(_) if !self.pool.key.is_write() && self.factory.is_audit_required(&event.template) => {
                return self.after_its_record(delivery, &begun, &event, outcome).await;
            }
            outcome => self.answer(delivery, &event.event_id, event.operation, outcome.as_ref()).await,
        }
        fail_point!("replied", |_| die());
        let records = self.reporter.records(&begun, &event, delivery, outcome.as_ref(), None);
        self.settle(delivery, records).await;
    }

    /// Reports, and acknowledges: a write only when its records are confirmed. The next message may begin meanwhile, as far
    /// as the prefetch goes.
    async fn settle(&self, delivery: &Arc<Delivery>, (lineage, audit): (Option<LineageRecord>, Option<AuditRecord>)) {
        if !self.pool.key.is_write() {
            self.reporter.recorder.offer(lineage, audit);
            return delivery.ack();
        }
        let kept = self.reporter.recorder.keep(lineage, audit).await;
        fail_point!("reported", |_| die());
        if kept.is_empty() {
            return delivery.ack();
        }
        let delivery = Arc::clone(delivery);
        self.recording.spawn(async move {
            if kept.confirmed().await {
                fail_point!("recorded", |_| die());
                delivery.ack();
            }
        });
    }

    /// The message goes back to its queue, or to the dead letters with the reason once it was tried often enough.
    pub(super) async fn after_panic(&self, delivery: &Arc<Delivery>, panic: &str) {
        let text = match self.pool.key.is_write() {
            true => {
                "the handler failed repeatedly; a write may have taken effect, so repeat it with the same Idempotency-Key"
            }
            false => "the handler failed; the node's log has the cause",
        };
        let error = BedsError::new(ErrorKind::Internal, text).with_source(panic.to_owned());
        let event = self.read(delivery).ok();
        if !self.pool.key.is_write() {
            // A read has no effect to save: its caller learns at once.
            self.answer(delivery, &EventId(delivery.message_id().to_owned()), Operation::Fetch, Err(&error)).await;
            let records = event.map(|event| self.reporter.records(&Begun::now(), &event, delivery, Err(&error), None));
            return self.settle(delivery, records.unwrap_or_default()).await;
        }
        if delivery.deliveries() < DELIVERY_LIMIT {
            return delivery.requeue();
        }
        let begun = Begun::now();
        if let Some(event) = &event
            && let Ok(Some(answer)) = AssertUnwindSafe(self.done_before(event)).catch_unwind().await
        {
            // It had its effect before the panic.
            self.answer(delivery, &event.event_id, event.operation, Ok(&answer)).await;
            let records = self.reporter.records(&begun, event, delivery, Ok(&answer), None);
            return self.settle(delivery, records).await;
        }
        self.bury(delivery, event.as_ref().map(|event| (&begun, event)), "panic", &error).await;
    }

    fn read(&self, delivery: &Delivery) -> Result<Event> {
        let most = self.pool.max_event_bytes;
        if delivery.body().len() > most {
            let text = format!("the event has more than {most} bytes (amqp.max_event_bytes)");
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        let mut event = Event::from_slice(delivery.body())?;
        // Work that this worker does not wait for any more must not be committed either.
        let longest = SignedDuration::try_from(self.pool.handler_timeout).unwrap_or(SignedDuration::MAX);
        event.work_until = Some(Timestamp::now().checked_add(longest).unwrap_or(Timestamp::MAX));
        if event.operation.is_write() != self.pool.key.is_write() {
            let text = format!("the operation {} does not belong into the queue {}", event.operation, self.pool.key);
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        Ok(event)
    }

    async fn work(&self, event: &Arc<Event>, delivery: &Delivery) -> Result<Answer> {
        let mut patience = event.remaining().min(self.pool.handler_timeout);
        if self.pool.key.is_write() && delivery.is_in_doubt() {
            // An earlier delivery may have had its effect: the inbox knows, and begins nothing after the deadline.
            patience = self.pool.handler_timeout;
        }
        if patience.is_zero() {
            return Err(BedsError::new(ErrorKind::DeadlineExceeded, NOT_BEGUN));
        }
        if !self.may_begin(event) {
            return Err(not_recorded());
        }
        let is_awaited = delivery.is_in_doubt() && delivery.reply_to().is_some();
        let work = async {
            fail_point!("panic", event.params.contains_key("panic_for_test"), |_| panic!("a panic for a test"));
            loop {
                match dispatch(self.factory, event, self.pool.key.store()).await {
                    // The transaction of the delivery before is still open in the database; it will end.
                    Err(error) if error.kind == ErrorKind::KeyInFlight && is_awaited => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        let timed = async { tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(self.late())) };
        if self.pool.key.is_write() {
            return timed.await;
        }
        let watched = self.notices.enter(&event.event_id.0);
        tokio::select! {
            biased;
            () = watched.given_up() => {
                let text = "the caller went away; the read was ended";
                Err(BedsError::new(ErrorKind::DeadlineExceeded, text))
            }
            outcome = timed => outcome,
        }
    }

    /// Failures that an operator must know of are logged here, each cause once a minute; a caller's mistake is told to the
    /// caller only.
    fn log(&self, event: &Event, error: &BedsError) {
        let source = error.source.as_ref().map(ToString::to_string);
        let (id, template, operation, code) =
            (&event.event_id.0, &event.template, event.operation.as_str(), error.code());
        let level = match error.kind {
            ErrorKind::Internal | ErrorKind::TemplateUnusable | ErrorKind::WrongAnswer => Level::ERROR,
            kind if kind.status() >= 500 => Level::WARN,
            _ => Level::DEBUG,
        };
        if level == Level::DEBUG {
            return tracing::debug!(event.id = id, template, operation, code, "An event was refused.");
        }
        let object = event.object.as_deref().unwrap_or_default();
        // Of an event that was not begun, the names are its publisher's choice: they must not fill the table of causes.
        let cause = match error.message.as_str() {
            NOT_BEGUN => NOT_BEGUN.to_owned(),
            _ => format!("{template} {operation} {object} {code}"),
        };
        let Some(before) = self.complaints.say(&cause) else {
            return tracing::debug!(event.id = id, template, operation, code, source, "An event failed as others did.");
        };
        // The message describes the answer of the object, and holds no value.
        let detail = (error.kind == ErrorKind::WrongAnswer).then_some(error.message.as_str());
        if level == Level::ERROR {
            tracing::error!(event.id = id, template, operation, code, source, detail, before, "An event failed.");
        } else {
            tracing::warn!(event.id = id, template, operation, code, source, before, "An event was not completed.");
        }
    }

    /// A node of a later release may take it, so it waits for one: a write for about an hour, before it is kept for a
    /// person; a read for about a minute, before it is answered. It does not wait in the hands of
    /// this task, but for RabbitMQ's confirm: a few messages with a high version would stop all others.
    async fn give_back(&self, delivery: &Arc<Delivery>, error: &BedsError) {
        if self.complaints.say("an event of a later release").is_some() {
            tracing::warn!(queue = delivery.queue(), "An event is of a later release than this node; it goes back.");
        }
        let most = if self.pool.key.is_write() { MOST_WAITS } else { MOST_WAITS_OF_A_READ };
        if delivery.waits() < most {
            match self.put_aside(delivery, LATER, delivery.is_in_doubt()).await {
                Waits::Yes => return delivery.ack(),
                Waits::Unknown => return self.hand_back(delivery).await,
                // Others have filled the queue: this one ends here.
                Waits::Refused => {}
            }
        }
        if self.pool.key.is_write() {
            return self.bury(delivery, None, "malformed", error).await;
        }
        let id = EventId(delivery.message_id().to_owned());
        self.answer(delivery, &id, Operation::Fetch, Err(error)).await;
        delivery.ack();
    }

    /// False where the work must be recorded and cannot be.
    fn may_begin(&self, event: &Event) -> bool {
        let recorder = self.reporter.recorder;
        (recorder.enabled().audit && recorder.can_audit()) || !self.factory.is_audit_required(&event.template)
    }

    fn late(&self) -> BedsError {
        match self.pool.key.is_write() {
            true => BedsError::new(
                ErrorKind::OutcomeUnknown,
                "the deadline passed while the write was running; repeat it with the same Idempotency-Key",
            ),
            false => BedsError::new(ErrorKind::DeadlineExceeded, "the deadline passed while the read was running"),
        }
    }

    async fn answer(
        &self,
        delivery: &Delivery,
        event_id: &EventId,
        operation: Operation,
        outcome: Result<&Answer, &BedsError>,
    ) {
        let Some(reply_to) = delivery.reply_to() else { return };
        let success = if operation == Operation::Create { 201 } else { 200 };
        let reply = Reply::of(event_id, success, outcome);
        if !operation.is_write() && !delivery.number().is_multiple_of(UNWAITED_REPLIES) {
            if let Err(error) = self.publisher.reply_unwaited(reply_to, delivery.correlation_id(), &reply) {
                self.unsent(event_id, &error.to_string());
            }
            return;
        }
        let sent = self.publisher.reply(reply_to, delivery.correlation_id(), &reply);
        match tokio::time::timeout(REPLY_PATIENCE, sent).await {
            Ok(Ok(())) => {}
            // The requester learns "outcome unknown" from its own side and repeats with the same key.
            Ok(Err(error)) => self.unsent(event_id, &error.to_string()),
            Err(_) => self.unsent(event_id, "it took too long"),
        }
    }

    fn unsent(&self, event_id: &EventId, error: &str) {
        if let Some(before) = self.complaints.say("a reply that could not be sent") {
            tracing::warn!(event.id = event_id.0, error, before, "A reply could not be sent.");
        }
    }

    /// The message becomes a dead letter. `event` is its content, if it could be read.
    async fn bury(&self, delivery: &Arc<Delivery>, event: Option<(&Begun, &Event)>, reason: &str, error: &BedsError) {
        let id = match (delivery.message_id(), event) {
            ("", Some((_, event))) => event.event_id.clone(),
            (id, _) => EventId(id.to_owned()),
        };
        match self.publisher.dead_letter(delivery, reason, &format!("{} {}", error.code(), error.message)).await {
            Ok(()) => {
                self.reporter.meters.dead_letter();
                let (queue, code) = (delivery.queue(), error.code());
                if let Some(before) = self.complaints.say(&format!("dead letter {queue} {reason} {code}")) {
                    tracing::warn!(event.id = id.0, queue, reason, code, before, "A message became a dead letter.");
                }
                self.answer(delivery, &id, Operation::Fetch, Err(error)).await;
                let records = match event {
                    Some((begun, event)) => self.reporter.records(begun, event, delivery, Err(error), Some(reason)),
                    None => (self.reporter.malformed(delivery, error), None),
                };
                self.settle(delivery, records).await;
            }
            Err(failure) if !self.pool.key.is_write() => {
                // A read has no effect to save, and its queue no limit of deliveries: it must not come again and again.
                tracing::warn!(event.id = id.0, %failure, code = error.code(), "A dead letter could not be kept.");
                self.answer(delivery, &id, Operation::Fetch, Err(error)).await;
                delivery.ack();
            }
            Err(failure) => {
                tracing::warn!(event.id = id.0, %failure, "A dead letter could not be kept; the message goes back.");
                tokio::time::sleep(Duration::from_millis(200)).await;
                delivery.requeue();
            }
        }
    }
}

fn not_recorded() -> BedsError {
    let text = "work with this template must be recorded, and no record can be queued now; nothing was changed";
    BedsError::new(ErrorKind::Unavailable, text)
}

/// For tests of answers that leave when their callers have stopped waiting. The fail point's own sleep would hold up the
/// thread, and with it the clock by which a caller stops.
fn lateness() -> Option<Duration> {
    fail_point!("late", |millis| millis.and_then(|text| text.parse().ok()).map(Duration::from_millis));
    None
}

/// For tests of crashes: no destructor runs, no connection is closed cleanly.
#[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "only fail points call it"))]
fn die() {
    std::process::abort();
}
