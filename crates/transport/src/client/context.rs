//! [`Context`]: everything of a call besides its arguments; and [`Asked`], the work of a ticket.
//!
//! Not here: the calls themselves (../client.rs).

use std::sync::Arc;
use std::time::Duration;

use beds_core::{Actor, Event, EventId, Fields, Operation, Origin};
use jiff::SignedDuration;

/// The context of a call besides its arguments.
#[derive(Debug, Clone)]
pub struct Context {
    pub event_id: EventId,
    /// The event that this call is a consequence of; none for a request from outside.
    pub cause: Option<Cause>,
    /// Where the request came from; none for an event that begins in an application.
    pub origin: Option<Origin>,
    pub actor: Arc<Actor>,
    /// The idempotency key of a write. Without one, the event id is the key.
    pub key: Option<String>,
    /// How long the caller waits.
    pub patience: Duration,
}

/// The event that another one comes from.
#[derive(Debug, Clone)]
pub struct Cause {
    pub event_id: EventId,
    pub root_id: EventId,
    pub depth: u32,
}

impl Context {
    /// The event of a call in this context, without its arguments.
    pub(super) fn event(self, template: &str, operation: Operation) -> Event {
        let patience = SignedDuration::try_from(self.patience).unwrap_or(SignedDuration::MAX);
        let mut event = Event::root(self.event_id, template, operation, patience);
        if let Some(cause) = self.cause {
            event.parent_id = cause.event_id;
            event.root_id = cause.root_id;
            event.depth = cause.depth + 1;
        }
        event.actor = self.actor;
        event.origin = self.origin;
        // A read has no effect that a key could keep from happening twice.
        event.key = self.key.filter(|_| operation.is_write());
        event
    }
}

/// The work that a ticket is asked for, or the ticket that is to change.
#[derive(Debug, Clone)]
pub struct Asked {
    pub template: String,
    pub operation: Operation,
    pub job: Option<String>,
    pub fetch: Option<String>,
    pub id: Option<String>,
    pub params: Fields,
}
