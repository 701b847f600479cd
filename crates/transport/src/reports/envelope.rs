//! A node's report, written as an event as `core::Event` reads it, without a copy of its records.
//!
//! Not here: when it is sent (lane.rs).

use beds_core::event::ENVELOPE_VERSION;
use beds_core::{EventId, Operation};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
pub(super) struct Envelope<'r, P> {
    v: u8,
    event_id: &'r EventId,
    root_id: &'r EventId,
    template: &'static str,
    operation: Operation,
    params: P,
    issued_at: Timestamp,
    deadline: Timestamp,
}

/// The one parameter of a batch.
#[derive(Serialize)]
pub(super) struct Batch<'r> {
    pub(super) records: &'r [&'r RawValue],
}

impl<'r, P: Serialize> Envelope<'r, P> {
    pub(super) fn new(id: &'r EventId, template: &'static str, params: P) -> Self {
        let issued_at = Timestamp::now();
        // No requester waits for the answer, and the admin node may be away for long.
        let deadline =
            issued_at.checked_add(SignedDuration::from_hours(24 * 365)).unwrap_or(Timestamp::MAX);
        let (v, operation) = (ENVELOPE_VERSION, Operation::Create);
        Self { v, event_id: id, root_id: id, template, operation, params, issued_at, deadline }
    }
}
