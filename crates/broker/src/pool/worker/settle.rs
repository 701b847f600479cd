//! The acts at the end of a message: answer, report, acknowledge, or keep it for a person.
//!
//! Not here: which of them (ending.rs), the content of the reports (../report.rs).

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::{Answer, ReplyRef};
use beds_core::{Actor, Attempt, BedsError, ErrorKind, EventId, Operation, Reply, Result};
use beds_trail::audit::AuditRecord;
use beds_trail::span::LineageReport;
use beds_transport::Delivery;
use fail::fail_point;

use super::proof::Proof;
use super::{REPLY_PATIENCE, Worker};
use crate::pool::report::Begun;
use crate::touched::Touched;

/// One in so many answers of reads is waited for until it is written; the others are handed on. A write's always is.
const WAIT_FOR_EVERY: u64 = 8;
/// The pause before a message goes back whose dead letter RabbitMQ did not take.
const UNKEPT: Duration = Duration::from_millis(200);

/// How far a message may name the queue for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A node has sealed it: the answer is sealed too.
    Sealed,
    /// It is believed without a seal: the answer has none either, so no node is deceived that asks for one.
    Believed,
    /// It is a client's: its queue is not one of a node.
    None,
}

/// A message that a worker has read, and its work on it.
pub(super) struct Taken<'m> {
    pub(super) delivery: &'m Arc<Delivery>,
    pub(super) begun: Begun,
    pub(super) attempt: Arc<Attempt>,
    pub(super) proof: Proof,
}

impl Taken<'_> {
    pub(super) fn is_in_doubt(&self) -> bool {
        self.proof.is_in_doubt(self.delivery)
    }

    pub(super) fn waits(&self) -> u32 {
        self.proof.waits(self.delivery)
    }
}

/// The reports about one message, as far as they are switched on.
pub(super) type Reports = (Option<LineageReport>, Option<AuditRecord>);

impl Worker<'_> {
    pub(super) async fn answer(&self, taken: &Taken<'_>, outcome: Result<&Answer, &BedsError>) {
        let event = &taken.attempt.event;
        let success = match event.operation {
            _ if self.pool.key.is_of_tickets() => 202,
            Operation::Create => 201,
            _ => 200,
        };
        let reply = Reply::of(&event.event_id, success, outcome);
        let trust = match &taken.proof {
            Proof::Sealed(_) => Trust::Sealed,
            Proof::Believed => Trust::Believed,
            Proof::Caller(_) => Trust::None,
        };
        self.reply(taken.delivery, &event.event_id, &reply, trust).await;
    }

    /// Answers a message that is no event.
    pub(super) async fn refuse(&self, delivery: &Delivery, id: &EventId, error: &BedsError) {
        let trust = match (self.publisher.is_sealed(delivery), self.publisher.needs_proof()) {
            (true, _) => Trust::Sealed,
            (false, false) => Trust::Believed,
            (false, true) => Trust::None,
        };
        self.reply(delivery, id, &Reply::of(id, 0, Err(error)), trust).await;
    }

    pub(super) fn reports(
        &self,
        taken: &Taken<'_>,
        outcome: Result<&Answer, &BedsError>,
        dead: Option<&str>,
    ) -> Reports {
        // A request for a ticket touches no record: the work does.
        let touched = match self.pool.key.is_of_tickets() {
            true => Touched::default(),
            false => {
                let event = &taken.attempt.event;
                Touched::by(self.factory, self.reporter.reports, event, outcome.ok())
            }
        };
        self.reporter.records(&taken.begun, &taken.attempt, taken.delivery, outcome, dead, touched)
    }

    /// Reports, and acknowledges: a write only when its records are confirmed. The next message may begin meanwhile, as far
    /// as the prefetch goes.
    pub(super) async fn settle(&self, delivery: &Arc<Delivery>, (lineage, audit): Reports) {
        if !self.pool.key.is_write() {
            self.reporter.reports.offer(lineage, audit);
            return delivery.ack();
        }
        let kept = self.reporter.reports.keep(lineage, audit).await;
        fail_point!("reported", |_| super::die());
        if kept.is_empty() {
            return delivery.ack();
        }
        let delivery = Arc::clone(delivery);
        self.recording.spawn(async move {
            // A node that stops leaves the message unacknowledged: RabbitMQ hands it out again.
            if kept.confirmed().await {
                fail_point!("recorded", |_| super::die());
                delivery.ack();
            }
        });
    }

    /// The message becomes a dead letter with the reason.
    pub(super) async fn bury(&self, taken: &Taken<'_>, reason: &str, error: &BedsError) {
        let delivery = taken.delivery;
        let id = match delivery.message_id() {
            "" => taken.attempt.event.event_id.clone(),
            id => EventId(id.to_owned()),
        };
        // A client without the right must not fill the room of others.
        if let (Proof::Caller(_), true) = (&taken.proof, is_without_right(error.kind)) {
            return self.put_away(taken, error).await;
        }
        if self.keep_for_a_person(delivery, &id, reason, error, taken.proof.actor()).await {
            self.answer(taken, Err(error)).await;
            let reports = self.reports(taken, Err(error), Some(reason));
            self.settle(delivery, reports).await;
        }
    }

    /// Ends the message of a client that has no right to it: it is answered and reported, and kept apart.
    async fn put_away(&self, taken: &Taken<'_>, error: &BedsError) {
        if let Err(failure) = self.publisher.keep_unproved(taken.delivery, error.code()).await {
            tracing::debug!(%failure, "A message without a right could not be kept.");
        }
        self.answer(taken, Err(error)).await;
        let reports = self.reports(taken, Err(error), None);
        self.settle(taken.delivery, reports).await;
    }

    /// The message, which is no event, becomes a dead letter. `actor` is its proved caller, where the body is not believed: without it,
    /// the seal of the dead letter would stand for an actor of the publisher's choice.
    pub(super) async fn bury_unread(
        &self,
        delivery: &Arc<Delivery>,
        reason: &str,
        error: &BedsError,
        actor: Option<&Actor>,
    ) {
        let id = EventId(delivery.message_id().to_owned());
        if self.keep_for_a_person(delivery, &id, reason, error, actor).await {
            self.refuse(delivery, &id, error).await;
            self.settle(delivery, (self.reporter.malformed(delivery, error), None)).await;
        }
    }

    /// False where RabbitMQ did not take the dead letter: the message is then dealt with.
    async fn keep_for_a_person(
        &self,
        delivery: &Delivery,
        id: &EventId,
        reason: &str,
        error: &BedsError,
        actor: Option<&Actor>,
    ) -> bool {
        let detail = format!("{} {}", error.code(), error.message);
        let Err(failure) = self.publisher.dead_letter(delivery, reason, &detail, actor).await
        else {
            self.reporter.meters.dead_letter();
            let (queue, code) = (delivery.queue(), error.code());
            if let Some(before) =
                self.complaints.say(&format!("dead letter {queue} {reason} {code}"))
            {
                tracing::warn!(
                    event.id = id.0,
                    queue,
                    reason,
                    code,
                    before,
                    "A message became a dead letter."
                );
            }
            return true;
        };
        if self.pool.key.is_write() {
            tracing::warn!(event.id = id.0, %failure, "A dead letter could not be kept; the message goes back.");
            tokio::time::sleep(UNKEPT).await;
            delivery.requeue();
        } else {
            // A read has no effect to save, and its queue no limit of deliveries: it must not come again and again.
            tracing::warn!(event.id = id.0, %failure, code = error.code(), "A dead letter could not be kept.");
            self.refuse(delivery, id, error).await;
            delivery.ack();
        }
        false
    }

    async fn reply(
        &self,
        delivery: &Delivery,
        event_id: &EventId,
        reply: &ReplyRef<'_>,
        trust: Trust,
    ) {
        let Some(reply_to) = delivery.reply_to() else { return };
        // The node publishes there with its own rights: only a node's message may name the queue of a node.
        if reply_to.starts_with("beds.") && trust == Trust::None {
            return;
        }
        let (to, is_sealed) = ((reply_to, delivery.correlation_id()), trust == Trust::Sealed);
        if !self.pool.key.is_write() && !delivery.number().is_multiple_of(WAIT_FOR_EVERY) {
            if let Err(error) = self.publisher.reply_unwaited(to, reply, is_sealed) {
                self.unsent(event_id, &error.to_string());
            }
            return;
        }
        let sent = self.publisher.reply(to, reply, is_sealed);
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
}

/// True where the caller may not do it, or the thing is not there for it.
fn is_without_right(kind: ErrorKind) -> bool {
    use ErrorKind::{MissingClaim, NotAllowed, UnknownTemplate};
    matches!(kind, UnknownTemplate | NotAllowed | MissingClaim)
}
