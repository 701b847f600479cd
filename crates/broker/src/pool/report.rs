//! The reports of a worker about one message: the event with its calls as lineage, and the act as audit. Values of fields
//! never stand in either.
//!
//! Not here: sending (`transport::reports`), the order of report and acknowledgement (worker/settle.rs).

use std::time::{Duration, Instant};

use beds_core::digest::digest;
use beds_core::event::{MAX_ID_BYTES, MAX_NAME_BYTES};
use beds_core::outcome::Outcome;
use beds_core::reply::Answer;
use beds_core::steps::Noted;
use beds_core::{Attempt, BedsError, ErrorKind, Event, EventId, Result};
use beds_trail::audit::AuditRecord;
use beds_trail::span::{LineageReport, Span, SpanKind, micros};
use beds_transport::{Delivery, Reports};
use jiff::Timestamp;

use crate::metrics::Meters;
use crate::spans;
use crate::touched::Touched;

/// Names of fields in an audit record, at most: a caller decides how many it sends.
const MOST_NAMES: usize = 64;

/// The moment at which a worker took a message.
pub(super) struct Begun {
    start: Timestamp,
    clock: Instant,
}

/// Who reports.
#[derive(Clone, Copy)]
pub(super) struct Reporter<'t> {
    pub(super) reports: &'t Reports,
    pub(super) worker: &'t str,
    pub(super) meters: &'t Meters,
}

/// Everything that is reported of one message.
struct Told<'a> {
    begun: &'a Begun,
    event: &'a Event,
    delivery: &'a Delivery,
    outcome: Result<&'a Answer, &'a BedsError>,
    /// Why it became a dead letter, if it did.
    dead: Option<&'a str>,
    digest: String,
    noted: Noted,
    touched: Touched,
}

impl Told<'_> {
    fn code(&self) -> Option<&'static str> {
        self.outcome.as_ref().err().map(|error| error.code())
    }
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
        attempt: &Attempt,
        delivery: &Delivery,
        outcome: Result<&Answer, &BedsError>,
        dead: Option<&str>,
        touched: Touched,
    ) -> (Option<LineageReport>, Option<AuditRecord>) {
        let enabled = self.reports.enabled();
        let (event, noted) = (&attempt.event, attempt.steps.take());
        let is_of_write_itself =
            event.operation.is_write() && (delivery.is_redelivered() || noted.repeat_of.is_none());
        let digest = match (enabled.lineage || enabled.audit, is_of_write_itself) {
            (false, _) => String::new(),
            // A delivery after a lost acknowledgement tells of the same write: one record.
            (true, true) => digest(delivery.body()),
            // The same bytes, sent again, read again, or get the answer again: a record each time.
            (true, false) => {
                format!("{}-{}", digest(delivery.body()), unique(&self.reports.event_id()))
            }
        };
        let told = Told { begun, event, delivery, outcome, dead, digest, noted, touched };
        let wait =
            Duration::try_from(begun.start.duration_since(event.issued_at)).unwrap_or_default();
        self.meters.event(told.code(), wait, begun.clock.elapsed());
        told.noted.calls.iter().for_each(|step| self.meters.call(step.duration));
        if event.replay_of.is_some() {
            self.meters.replay();
        }
        let lineage = enabled.lineage.then(|| self.lineage(&told));
        (lineage, enabled.audit.then(|| self.audit(told)))
    }

    fn lineage(self, told: &Told<'_>) -> LineageReport {
        let Told { begun, event, delivery, digest, .. } = told;
        let wait = begun.start.duration_since(event.issued_at);
        let mut spans = vec![Span {
            queue: delivery.queue().to_owned(),
            worker: self.worker.to_owned(),
            queue_wait_us: Duration::try_from(wait).ok().map(micros),
            duration_us: Some(
                micros(begun.clock.elapsed()) + Duration::try_from(wait).map_or(0, micros),
            ),
            code: told.code().map(str::to_owned),
            digest: Some(digest.clone()),
            ..Span::of(event, self.reports.node(), Outcome::of(&told.outcome))
        }];
        if let Some(trace) = delivery.traceparent() {
            spans[0].traceparent = Some(trace.to_owned());
        }
        Self::add_children(&mut spans, told);
        LineageReport::ended(event.root_id.clone(), spans, Some(digest))
    }

    /// The redelivery, the calls and the dead letter of an event, below it.
    fn add_children(children: &mut Vec<Span>, told: &Told<'_>) {
        let Told { begun, event, delivery, noted, .. } = told;
        // Children of another delivery have other ids.
        let round = if delivery.is_redelivered() {
            format!("{}.", delivery.deliveries() + 1)
        } else {
            String::new()
        };
        let child = |number: usize, kind, start, outcome| {
            spans::child(event, &format!("{round}{number}"), kind, start, outcome)
        };
        if delivery.is_redelivered() {
            children.push(child(children.len(), SpanKind::Redelivery, begun.start, Outcome::Ok));
        }
        if let Some(first) = &noted.repeat_of {
            let mut node = child(children.len(), SpanKind::Repeat, begun.start, Outcome::Ok);
            node.label = Some(first.0.clone());
            children.push(node);
        }
        for (number, step) in noted.calls.iter().enumerate() {
            let kind = if number == 0 { SpanKind::Call } else { SpanKind::Retry };
            let number = format!("{round}{}", children.len());
            children.push(spans::call(event, &number, kind, step));
        }
        if let Some(reason) = told.dead {
            let mut node =
                child(children.len(), SpanKind::DeadLetter, Timestamp::now(), Outcome::Failed);
            node.label = Some(reason.to_owned());
            node.code = told.code().map(str::to_owned);
            children.push(node);
        }
    }

    fn audit(self, told: Told<'_>) -> AuditRecord {
        let code = told.code().map(str::to_owned);
        let Told { begun, event, delivery, outcome, digest, noted, touched, .. } = told;
        let Touched { record, seen, unnamed } = touched;
        AuditRecord {
            record,
            seen,
            unnamed,
            // A name that is no field's is the caller's text.
            fields: match outcome {
                Err(error) if error.kind == ErrorKind::UnknownField => Vec::new(),
                _ => event.params.keys().take(MOST_NAMES).map(|name| shortened(name)).collect(),
            },
            rows: outcome.map_or(0, |answer| {
                answer
                    .rows
                    .unwrap_or_else(|| u32::try_from(answer.records.len()).unwrap_or(u32::MAX))
            }),
            outcome: Outcome::of(&outcome),
            code,
            digest: Some(digest),
            // A redelivery that finds its own effect has done it.
            repeat_of: noted
                .repeat_of
                .filter(|first| *first != event.event_id || !delivery.is_redelivered()),
            ..AuditRecord::of(event, self.reports.node(), begun.start)
        }
    }

    /// Records that a message was refused whose publisher has proved nothing, and how many like it have no record of their own.
    pub(super) fn unproved(self, delivery: &Delivery, login: &str, unrecorded: u64) {
        let (id, node) = (self.reports.event_id(), self.reports.node());
        let act = AuditRecord::of_act(id, "", "enter", Outcome::Failed, node);
        let record = AuditRecord {
            code: Some(ErrorKind::Unauthenticated.code().to_owned()),
            target: Some(format!("{} {login}", delivery.queue())),
            unrecorded: (unrecorded > 0).then_some(unrecorded),
            ..act
        };
        self.reports.offer(None, self.reports.enabled().audit.then_some(record));
    }

    /// An id for a message that is no event, so that its dead letter has a place.
    pub(super) fn malformed(self, delivery: &Delivery, error: &BedsError) -> Option<LineageReport> {
        if !self.reports.enabled().lineage {
            return None;
        }
        let id = match delivery.message_id() {
            "" => self.reports.event_id(),
            // A colon would make the id that of a step within another event.
            id => EventId(id.replace(EventId::CHILD, ".").chars().take(MAX_ID_BYTES).collect()),
        };
        let node = |event_id: EventId, kind| Span {
            queue: delivery.queue().to_owned(),
            worker: self.worker.to_owned(),
            code: Some(error.code().to_owned()),
            ..Span::new(event_id, self.reports.node(), kind, Outcome::Failed)
        };
        let root = node(id.clone(), SpanKind::Amqp);
        let dead = Span {
            parent_id: id.clone(),
            depth: 1,
            label: Some("malformed".to_owned()),
            ..node(id.child("dead letter"), SpanKind::DeadLetter)
        };
        Some(LineageReport::ended(id, vec![root, dead], Some(&digest(delivery.body()))))
    }
}

/// The random end of a new id.
fn unique(id: &EventId) -> &str {
    id.0.get(id.0.len().saturating_sub(12)..).unwrap_or_default()
}

/// Names come from callers, too.
fn shortened(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME_BYTES)]
        .replace(|c: char| c.is_control() || matches!(c, '"' | '\\'), "?")
}
