//! The one place between a queue and an adapter: each event passes it, from whichever front it came.
//!
//! Not here: the adapter of a template (factory.rs).

use std::sync::Arc;

use beds_core::reply::Answer;
use beds_core::templates::is_for_callers;
use beds_core::{Attempt, Result, RoutingKey};

use crate::Factory;

/// Does what the event asks for, if a caller may ask for it.
pub(crate) async fn dispatch(
    factory: &Factory,
    attempt: &Arc<Attempt>,
    key: &RoutingKey,
) -> Result<Answer> {
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
