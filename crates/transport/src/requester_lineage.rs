//! The reports that only the asking side can make: a request that RabbitMQ did not take, one that is still
//! running, one whose caller stopped waiting, and an answer that came after that. Not here: the reports of a worker
//! (broker/src/pool/report.rs).

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use beds_core::Outcome;
use beds_core::audit::AuditRecord;
use beds_core::lineage::{LineageNode, LineageRecord, NodeKind, micros};
use beds_core::{BedsError, ErrorKind, Event, EventId};
use jiff::Timestamp;

use crate::{Recorder, TransportError};

/// Requests whose late answers are told apart from foreign ones, at most.
const MOST_LATE: usize = 10_000;

/// The moment at which a request was sent.
pub(crate) struct Begun<'r> {
    clock: Instant,
    recorder: &'r Recorder,
}

impl<'r> Begun<'r> {
    pub(crate) fn now(recorder: &'r Recorder) -> Self {
        Self { clock: Instant::now(), recorder }
    }

    /// The request has no answer: it was not executed, or that is unknown.
    pub(crate) fn report_failure(&self, event: &Event, error: &TransportError, is_write: bool) {
        if !self.recorder.enabled().lineage {
            return;
        }
        let kind = match (error.is_not_executed(), is_write) {
            (true, _) => ErrorKind::Unavailable,
            (false, true) => ErrorKind::OutcomeUnknown,
            (false, false) => ErrorKind::DeadlineExceeded,
        };
        let outcome = if error.is_not_executed() { Outcome::Failed } else { Outcome::Unknown };
        let mut request = node(self.recorder, event, outcome);
        request.duration_us = Some(micros(self.clock.elapsed()));
        request.code = Some(kind.code().to_owned());
        let record = if error.is_not_executed() {
            LineageRecord::ended(event.root_id.clone(), vec![request], None)
        } else {
            // The worker tells how the request itself ended, if one ever had it.
            let id = event.event_id.child(LineageRecord::TIMEOUT);
            let timeout = child(self.recorder, id, &event.event_id, event.depth, NodeKind::Timeout, Some(kind.code()));
            LineageRecord::ended(event.root_id.clone(), vec![timeout, request], None)
        };
        // A request that was not sent has no worker that could audit it.
        let audit = error.is_not_executed() && self.recorder.enabled().audit;
        self.recorder.offer(Some(record), audit.then(|| refusal(self.recorder, event, kind.code())));
    }
}

/// The request was refused before it was sent: this is all that there will be of it.
pub(crate) fn report_refused(recorder: &Recorder, event: &Event, error: &BedsError) {
    let enabled = recorder.enabled();
    let lineage = enabled.lineage.then(|| {
        let mut request = node(recorder, event, Outcome::Failed);
        request.code = Some(error.code().to_owned());
        LineageRecord::ended(event.root_id.clone(), vec![request], None)
    });
    let audit = enabled.audit.then(|| refusal(recorder, event, error.code()));
    recorder.offer(lineage, audit);
}

/// The audit record of a request that reached no worker.
fn refusal(recorder: &Recorder, event: &Event, code: &str) -> AuditRecord {
    let mut record = AuditRecord::of(event, recorder.node(), event.issued_at);
    record.outcome = Outcome::Failed;
    record.code = Some(code.to_owned());
    record
}

/// The request has no answer yet.
pub(crate) fn report_running(recorder: &Recorder, event: &Event) {
    if recorder.enabled().lineage {
        let mut request = node(recorder, event, Outcome::Running);
        request.deadline = Some(event.deadline);
        recorder.offer(Some(LineageRecord::begun(event.root_id.clone(), vec![request])), None);
    }
}

/// Requests without a waiting caller, and whose answers may still come. The oldest are forgotten first.
#[derive(Default)]
pub(crate) struct LateReplies {
    expected: HashMap<String, Late>,
    order: VecDeque<String>,
}

/// The known part of the request of a late answer.
pub(crate) struct Late {
    root_id: EventId,
    depth: u32,
}

impl LateReplies {
    pub(crate) fn expect(&mut self, event: &Event) {
        let id = event.event_id.0.clone();
        self.order.push_back(id.clone());
        self.expected.insert(id, Late { root_id: event.root_id.clone(), depth: event.depth });
        while self.order.len() > MOST_LATE {
            if let Some(oldest) = self.order.pop_front() {
                self.expected.remove(&oldest);
            }
        }
    }

    pub(crate) fn take(&mut self, id: &str) -> Option<Late> {
        self.expected.remove(id)
    }
}

impl Late {
    pub(crate) fn report(self, recorder: &Recorder, id: &str) {
        if recorder.enabled().lineage {
            let event = EventId(id.to_owned());
            let reply = child(recorder, event.child("late reply"), &event, self.depth, NodeKind::LateReply, None);
            recorder.offer(Some(LineageRecord::ended(self.root_id, vec![reply], None)), None);
        }
    }
}

fn node(recorder: &Recorder, event: &Event, outcome: Outcome) -> LineageNode {
    LineageNode {
        event_id: event.event_id.clone(),
        parent_id: event.parent_id.clone(),
        depth: event.depth,
        kind: if event.origin.is_some() { NodeKind::Http } else { NodeKind::Amqp },
        template: event.template.clone(),
        operation: Some(event.operation),
        object: event.object.clone(),
        actor: event.actor.subject.clone(),
        start: event.issued_at,
        traceparent: event.origin.as_ref().and_then(|origin| origin.traceparent.clone()),
        ..LineageNode::new(EventId::default(), recorder.node(), NodeKind::Http, outcome)
    }
}

fn child(
    recorder: &Recorder,
    id: EventId,
    parent: &EventId,
    depth: u32,
    kind: NodeKind,
    code: Option<&str>,
) -> LineageNode {
    LineageNode {
        parent_id: parent.clone(),
        depth: depth + 1,
        start: Timestamp::now(),
        code: code.map(str::to_owned),
        ..LineageNode::new(id, recorder.node(), kind, Outcome::Unknown)
    }
}
