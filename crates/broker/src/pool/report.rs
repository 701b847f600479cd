//! What a worker reports of one message: the event with its calls as lineage, and who did what as audit. Values of fields
//! never stand in either. Sending is `transport::Recorder`'s.

use std::time::Instant;

use beds_core::audit::AuditRecord;
use beds_core::event::keyed_hash;
use beds_core::lineage::{LineageNode, LineageRecord, NodeKind, Outcome, micros};
use beds_core::reply::Answer;
use beds_core::{BedsError, Event, EventId, Result};
use beds_transport::{Delivery, Recorder};
use jiff::Timestamp;

/// Names of fields in an audit record, at most: a caller decides how many it sends.
const MOST_NAMES: usize = 64;

/// What is known from the moment at which a worker takes a message.
pub(super) struct Begun {
    start: Timestamp,
    clock: Instant,
}

/// Who reports.
#[derive(Clone, Copy)]
pub(super) struct Reporter<'t> {
    pub(super) recorder: &'t Recorder,
    pub(super) worker: &'t str,
}

impl Begun {
    pub(super) fn now() -> Self {
        Self { start: Timestamp::now(), clock: Instant::now() }
    }
}

impl Reporter<'_> {
    /// The records of a message that was worked on. `dead` is the reason, if it became a dead letter.
    pub(super) fn records(
        self,
        begun: &Begun,
        event: &Event,
        delivery: &Delivery,
        outcome: Result<&Answer, &BedsError>,
        dead: Option<&str>,
    ) -> (Option<LineageRecord>, Option<AuditRecord>) {
        let enabled = self.recorder.enabled();
        let lineage = enabled.lineage.then(|| self.lineage(begun, event, delivery, &outcome, dead));
        let audit = enabled.audit.then(|| self.audit(begun, event, &outcome));
        (lineage, audit)
    }

    fn lineage(
        self,
        begun: &Begun,
        event: &Event,
        delivery: &Delivery,
        outcome: &Result<&Answer, &BedsError>,
        dead: Option<&str>,
    ) -> LineageRecord {
        let wait = begun.start.duration_since(event.issued_at);
        let code = |outcome: &Result<&Answer, &BedsError>| outcome.as_ref().err().map(|error| error.code().to_owned());
        let kind = if event.origin.is_some() { NodeKind::Http } else { NodeKind::Amqp };
        let mut nodes = vec![LineageNode {
            event_id: event.event_id.clone(),
            parent_id: event.parent_id.clone(),
            depth: event.depth,
            kind,
            template: event.template.clone(),
            operation: Some(event.operation),
            object: event.object.clone(),
            actor: event.actor.subject.clone(),
            node: self.recorder.node().to_owned(),
            queue: delivery.queue().to_owned(),
            worker: self.worker.to_owned(),
            start: event.issued_at,
            queue_wait_us: std::time::Duration::try_from(wait).ok().map(micros),
            duration_us: Some(micros(begun.clock.elapsed()) + std::time::Duration::try_from(wait).map_or(0, micros)),
            outcome: Outcome::of(outcome),
            code: code(outcome),
            traceparent: event.origin.as_ref().and_then(|origin| origin.traceparent.clone()),
        }];
        if delivery.is_redelivered() {
            nodes.push(self.child(event, NodeKind::Redelivery, begun.start, Outcome::Ok));
        }
        for (number, step) in event.steps.take().into_iter().enumerate() {
            let kind = if number == 0 { NodeKind::Call } else { NodeKind::Retry };
            let outcome = match (step.is_ended, step.code) {
                (false, _) => Outcome::Unknown,
                (true, None) => Outcome::Ok,
                (true, Some(_)) => Outcome::Failed,
            };
            let mut node = self.child(event, kind, step.start, outcome);
            node.object = Some(step.object);
            node.duration_us = Some(micros(step.duration));
            node.code = step.code.map(str::to_owned);
            nodes.push(node);
        }
        if let Some(reason) = dead {
            let mut node = self.child(event, NodeKind::DeadLetter, Timestamp::now(), Outcome::Failed);
            node.object = Some(reason.to_owned());
            node.code = code(outcome);
            nodes.push(node);
        }
        LineageRecord::ended(event.root_id.clone(), nodes)
    }

    fn child(self, event: &Event, kind: NodeKind, start: Timestamp, outcome: Outcome) -> LineageNode {
        LineageNode {
            parent_id: event.event_id.clone(),
            depth: event.depth + 1,
            start,
            ..LineageNode::new(self.recorder.event_id(), self.recorder.node(), kind, outcome)
        }
    }

    fn audit(self, begun: &Begun, event: &Event, outcome: &Result<&Answer, &BedsError>) -> AuditRecord {
        let id = event.id.as_deref().or_else(|| outcome.as_ref().ok().and_then(|answer| answer.id.as_deref()));
        let key = self.recorder.enabled().hash_key.as_ref();
        AuditRecord {
            about: event.event_id.clone(),
            event_id: self.recorder.event_id(),
            root_id: event.root_id.clone(),
            depth: event.depth + 1,
            at: begun.start,
            actor: event.actor.subject.clone(),
            address: event.origin.as_ref().map(|origin| origin.address.clone()).unwrap_or_default(),
            template: event.template.clone(),
            operation: event.operation,
            object: event.object.clone(),
            record: key.zip(id).map(|(key, id)| keyed_hash(key, &[&event.template, id])),
            fields: event.params.keys().take(MOST_NAMES).cloned().collect(),
            rows: outcome.as_ref().map_or(0, |answer| u32::try_from(answer.records.len()).unwrap_or(u32::MAX)),
            outcome: Outcome::of(outcome),
            code: outcome.as_ref().err().map(|error| error.code().to_owned()),
            node: self.recorder.node().to_owned(),
        }
    }

    /// An id for a message that is no event, so that its dead letter has a place.
    pub(super) fn malformed(self, delivery: &Delivery, error: &BedsError) -> Option<LineageRecord> {
        if !self.recorder.enabled().lineage {
            return None;
        }
        let id = match delivery.message_id() {
            "" => self.recorder.event_id(),
            id => EventId(id.chars().take(128).collect()),
        };
        let node = |event_id: EventId, kind| LineageNode {
            queue: delivery.queue().to_owned(),
            worker: self.worker.to_owned(),
            code: Some(error.code().to_owned()),
            ..LineageNode::new(event_id, self.recorder.node(), kind, Outcome::Failed)
        };
        let root = node(id.clone(), NodeKind::Amqp);
        let dead = LineageNode {
            parent_id: id.clone(),
            depth: 1,
            object: Some("malformed".to_owned()),
            ..node(self.recorder.event_id(), NodeKind::DeadLetter)
        };
        Some(LineageRecord::ended(id, vec![root, dead]))
    }
}
