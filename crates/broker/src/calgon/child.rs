//! The event of an attempt: a child of the one that asked for the ticket.
//!
//! Not here: the attempt itself (run.rs).

use beds_core::ticket::Ticket;
use beds_core::{BedsError, ErrorKind, Event, EventId, Result};
use jiff::Timestamp;

/// The event of an attempt, with this id.
///
/// # Errors
/// The event in the ticket cannot be read.
pub(super) fn of(ticket: &Ticket, event_id: EventId) -> Result<Event> {
    let unread =
        || BedsError::new(ErrorKind::Internal, "the event of the ticket could not be read");
    let first = Event::from_slice(ticket.event.as_deref().ok_or_else(unread)?.as_bytes())?;
    let mut event = first.clone();
    event.event_id = event_id;
    event.parent_id = first.event_id.clone();
    event.depth = first.depth + 1;
    event.origin = None;
    // A write of any attempt has the effect of the first one.
    if event.key.is_none() && event.operation.is_write() {
        event.replay_of = Some(first.replay_of.unwrap_or(first.event_id));
    }
    event.issued_at = Timestamp::now();
    Ok(event)
}
