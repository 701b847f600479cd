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
    event.check_arguments()?;
    factory.adapter(event, key)?.work(attempt).await
}
