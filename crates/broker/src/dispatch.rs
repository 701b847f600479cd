//! The one place between a queue and an adapter: each event passes it, from whichever front it came.
//!
//! Not here: the adapter of a template (factory.rs).

use std::sync::Arc;

use beds_core::reply::Answer;
use beds_core::templates::is_for_callers;
use beds_core::{Attempt, Result, RoutingKey};

use crate::Factory;
use crate::calgon::desk;

/// Does what the event asks for, if a caller may ask for it.
pub(crate) async fn dispatch(
    factory: &Factory,
    attempt: &Arc<Attempt>,
    key: &RoutingKey,
) -> Result<Answer> {
    if key.is_of_tickets() {
        return desk::work(factory, attempt).await;
    }
    let event = &attempt.event;
    // Checks this here too: an event that came by AMQP has passed no gateway.
    is_for_callers(&event.template, event.operation)?;
    let rights = factory.check_right(event)?;
    event.check_arguments()?;
    let adapter = factory.adapter(event, key)?;
    let answer = adapter.work(attempt).await.map_err(|error| rights.quiet(event, error))?;
    // Behind the inbox, which keeps whole answers: a repeat is cut down to the rights of its own caller.
    rights.mask(event, answer)
}

/// Asks for the answer of a write that took effect under the event's key; none where none did.
pub(crate) async fn recall(
    factory: &Factory,
    attempt: &Attempt,
    key: &RoutingKey,
) -> Result<Option<Answer>> {
    if key.is_of_tickets() {
        return desk::recall(factory, attempt).await;
    }
    factory.adapter(&attempt.event, key)?.recall(attempt).await
}
