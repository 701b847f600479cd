//! The spans below an event, as each reporter of the node makes them.
//!
//! Not here: the reports (pool/report.rs, calgon/report.rs), the tree (crate trail).

use beds_core::outcome::Outcome;
use beds_core::steps::Step;
use beds_core::{Event, EventId};
use beds_trail::span::{Span, SpanKind, micros};
use jiff::Timestamp;

/// A child of an event that is reported together with it, under a number.
pub(crate) fn child(
    event: &Event,
    number: &str,
    kind: SpanKind,
    start: Timestamp,
    outcome: Outcome,
) -> Span {
    Span {
        parent_id: EventId::of_same_record(),
        depth: event.depth + 1,
        start,
        ..Span::new(EventId::default().child(number), "", kind, outcome)
    }
}

/// A call of a database object, made for an event.
pub(crate) fn call(event: &Event, number: &str, kind: SpanKind, step: &Step) -> Span {
    let outcome = match (step.is_ended, step.code) {
        (false, _) => Outcome::Unknown,
        (true, None) => Outcome::Ok,
        (true, Some(_)) => Outcome::Failed,
    };
    Span {
        label: Some(step.object.clone()),
        duration_us: Some(micros(step.duration)),
        code: step.code.map(str::to_owned),
        ..child(event, number, kind, step.start, outcome)
    }
}
