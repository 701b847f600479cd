//! The reports that only the asking side can make: a request that RabbitMQ did not take, one that is still
//! running, one whose caller stopped waiting, and an answer that came after that. Not here: the reports of a worker
//! (broker/src/pool/report.rs).

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use beds_core::Outcome;
use beds_core::{BedsError, ErrorKind, Event, EventId};
use beds_trail::audit::AuditRecord;
use beds_trail::span::{LineageReport, Span, SpanKind, micros};
use jiff::Timestamp;

use crate::{Reports, TransportError};

/// Requests whose late answers are told apart from foreign ones, at most.
const MOST_LATE: usize = 10_000;

/// The moment at which a request was sent.
pub(crate) struct Begun<'r> {
    clock: Instant,
    reports: &'r Reports,
}

impl<'r> Begun<'r> {
    pub(crate) fn now(reports: &'r Reports) -> Self {
        Self { clock: Instant::now(), reports }
    }

    /// The request has no answer: it was not executed, or that is unknown.
    pub(crate) fn report_failure(&self, event: &Event, error: &TransportError, is_write: bool) {
        if !self.reports.enabled().lineage {
            return;
        }
        let kind = match (error.is_not_executed(), is_write) {
            (true, _) if matches!(error, TransportError::Unserved(_)) => {
                ErrorKind::StoreUnavailable
            }
            (true, _) => ErrorKind::Unavailable,
            (false, true) => ErrorKind::OutcomeUnknown,
            (false, false) => ErrorKind::DeadlineExceeded,
        };
        let outcome = if error.is_not_executed() { Outcome::Failed } else { Outcome::Unknown };
        let mut request = Span::of(event, self.reports.node(), outcome);
        request.duration_us = Some(micros(self.clock.elapsed()));
        request.code = Some(kind.code().to_owned());
        let record = if error.is_not_executed() {
            LineageReport::ended(event.root_id.clone(), vec![request], None)
        } else {
            // The worker tells how the request itself ended, if one ever had it.
            let id = event.event_id.child(LineageReport::TIMEOUT);
            let timeout = child(
                self.reports,
                id,
                &event.event_id,
                event.depth,
                SpanKind::Timeout,
                Some(kind.code()),
            );
            LineageReport::ended(event.root_id.clone(), vec![timeout, request], None)
        };
        // A request that was not sent has no worker that could audit it.
        let audit = error.is_not_executed() && self.reports.enabled().audit;
        self.reports.offer(Some(record), audit.then(|| refusal(self.reports, event, kind.code())));
    }
}

/// The request was refused before it was sent: this is all that there will be of it.
///
/// `unrecorded` others like it have no record of their own.
pub(crate) fn report_refused(reports: &Reports, event: &Event, error: &BedsError, unrecorded: u64) {
    let enabled = reports.enabled();
    let lineage = enabled.lineage.then(|| {
        let mut request = Span::of(event, reports.node(), Outcome::Failed);
        request.code = Some(error.code().to_owned());
        LineageReport::ended(event.root_id.clone(), vec![request], None)
    });
    let audit = enabled.audit.then(|| AuditRecord {
        unrecorded: (unrecorded > 0).then_some(unrecorded),
        ..refusal(reports, event, error.code())
    });
    reports.offer(lineage, audit);
}

/// The caller of the request is not known: it has a record, and no place in lineage.
pub(crate) fn report_denied(
    reports: &Reports,
    event_id: &EventId,
    address: &str,
    error: &BedsError,
    unrecorded: u64,
) {
    let act = AuditRecord::of_act(event_id.clone(), "", "enter", Outcome::Failed, reports.node());
    let record = AuditRecord {
        address: address.to_owned(),
        code: Some(error.code().to_owned()),
        unrecorded: (unrecorded > 0).then_some(unrecorded),
        ..act
    };
    reports.offer(None, reports.enabled().audit.then_some(record));
}

/// The audit record of a request that reached no worker.
fn refusal(reports: &Reports, event: &Event, code: &str) -> AuditRecord {
    let mut record = AuditRecord::of(event, reports.node(), event.issued_at);
    record.outcome = Outcome::Failed;
    record.code = Some(code.to_owned());
    let id = event.record_id().filter(|_| !event.template.is_empty());
    record.record = id.and_then(|id| reports.record_keys().hash(&event.template, id));
    record
}

/// The request has no answer yet.
pub(crate) fn report_running(reports: &Reports, event: &Event) {
    if reports.enabled().lineage {
        let mut request = Span::of(event, reports.node(), Outcome::Running);
        request.deadline = Some(event.deadline);
        reports.offer(Some(LineageReport::begun(event.root_id.clone(), vec![request])), None);
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
    pub(crate) fn report(self, reports: &Reports, id: &str) {
        if reports.enabled().lineage {
            let event = EventId(id.to_owned());
            let reply = child(
                reports,
                event.child("late reply"),
                &event,
                self.depth,
                SpanKind::LateReply,
                None,
            );
            reports.offer(Some(LineageReport::ended(self.root_id, vec![reply], None)), None);
        }
    }
}

fn child(
    reports: &Reports,
    id: EventId,
    parent: &EventId,
    depth: u32,
    kind: SpanKind,
    code: Option<&str>,
) -> Span {
    Span {
        parent_id: parent.clone(),
        depth: depth + 1,
        start: Timestamp::now(),
        code: code.map(str::to_owned),
        ..Span::new(id, reports.node(), kind, Outcome::Unknown)
    }
}
