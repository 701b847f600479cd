//! The desk of tickets: takes requests for them from the queue `calgon`. Each is stored before it is answered.
//!
//! Not here: the work (runner.rs), the moves in the store (store.rs).

use std::sync::Arc;

use beds_core::reply::Answer;
use beds_core::templates::is_for_callers;
use beds_core::ticket::{Ticket, no_such_ticket};
use beds_core::{Attempt, BedsError, ErrorKind, Event, Operation, Result, TICKET_RESULTS, TICKETS};

use super::Calgon;
use super::store::{Asked, Store};
use crate::Factory;

/// Does what a request for a ticket asks for.
pub(crate) async fn work(factory: &Factory, attempt: &Arc<Attempt>) -> Result<Answer> {
    let event = &attempt.event;
    let calgon = factory.calgon()?;
    let (store, owner, keep) = (Store(factory), &event.actor.subject, calgon.config.keep);
    let of_one = || event.id.as_deref().ok_or_else(no_such_ticket);
    let ticket = match (event.template.as_str(), event.operation) {
        (TICKETS, Operation::Delete) => {
            // An operator at the command line of a node may cancel any.
            let owner = (!event.actor.has_every_right()).then_some(owner.as_str());
            store.cancel(of_one()?, owner, keep).await?
        }
        (TICKET_RESULTS, Operation::Delete) => store.drop_result(of_one()?, owner).await?,
        (TICKETS | TICKET_RESULTS, _) => {
            let text = format!("{} is read through its own queue", event.template);
            return Err(BedsError::new(ErrorKind::NoSuchOperation, text));
        }
        _ => Some(submit(factory, calgon, event).await?),
    };
    let ticket = ticket.ok_or_else(no_such_ticket)?;
    if ticket.fingerprint != event.fingerprint() && is_submit(event) {
        let text = "the Idempotency-Key belongs to the ticket of another request; use a new key";
        return Err(BedsError::new(ErrorKind::KeyReused, text));
    }
    attempt.steps.note_asked_inbox();
    calgon.bell.notify_waiters();
    answer(ticket)
}

/// The ticket that the event got before; none where it got none.
pub(crate) async fn recall(factory: &Factory, attempt: &Attempt) -> Result<Option<Answer>> {
    let event = &attempt.event;
    // The other requests can be repeated: they say which state they want.
    if !is_submit(event) {
        return Ok(None);
    }
    match Store(factory).asked(&event.actor.subject, &once(event)).await? {
        None => Ok(None),
        Some(ticket) if ticket.fingerprint != event.fingerprint() => {
            let text = "the Idempotency-Key belongs to the ticket of another request";
            Err(BedsError::new(ErrorKind::KeyReused, text))
        }
        Some(ticket) => answer(ticket).map(Some),
    }
}

fn is_submit(event: &Event) -> bool {
    !matches!(event.template.as_str(), TICKETS | TICKET_RESULTS)
}

async fn submit(factory: &Factory, calgon: &Calgon, event: &Event) -> Result<Ticket> {
    is_for_callers(&event.template, event.operation)?;
    let rights = factory.check_right(event)?;
    event.check_arguments()?;
    let (definition, start_within) = match (&event.job, event.operation) {
        (Some(job), Operation::Job) => {
            (factory.job(&event.template, job)?.digest(), calgon.config.start_within)
        }
        (None, Operation::Job) => {
            return Err(
                BedsError::new(ErrorKind::BadEvent, "the event has no job").with_field("job")
            );
        }
        _ => (String::new(), calgon.config.start_within),
    };
    let adapter = factory.adapter_of(&event.template)?;
    // Said now, and not by a ticket that fails.
    adapter.check(event).map_err(|error| rights.quiet(event, error))?;
    let store = Store(factory);
    let (owner, once) = (&event.actor.subject, once(event));
    // A repeat gets its ticket, however many wait.
    if let Some(before) = store.asked(owner, &once).await? {
        return Ok(before);
    }
    let turn = turn(&store, calgon, owner).await?;
    let text = serde_json::to_string(event).map_err(|error| {
        BedsError::new(ErrorKind::Internal, "the event could not be kept").with_source(error)
    })?;
    let database = factory.database(&event.template)?;
    let keep = calgon.config.keep;
    let asked = Asked { event, text, database, definition, once, turn, start_within, keep };
    // Where no answer came, the ticket may be there: it must not be said that it is not.
    store.submit(asked).await.map_err(|error| match error.kind.status() {
        500.. => {
            let text = "it is not known whether there is a ticket; ask again with the same Idempotency-Key";
            BedsError::new(ErrorKind::OutcomeUnknown, text).with_source(error)
        }
        _ => error,
    })
}

/// The turn of a caller's next ticket.
///
/// # Errors
/// [`ErrorKind::TooMany`], where the caller has too many that wait; [`ErrorKind::Unavailable`], where all have.
async fn turn(store: &Store<'_>, calgon: &Calgon, owner: &str) -> Result<i64> {
    let (most, most_own) = (calgon.config.max_queued.get(), calgon.config.max_queued_of_one.get());
    let (own, turn) = store.load(owner, most_own).await?;
    if own >= most_own {
        let text = format!("{own} tickets of this caller wait; cancel some, or ask again later");
        return Err(BedsError::new(ErrorKind::TooMany, text));
    }
    if calgon.crowd.is_over(most, || store.queued()).await? {
        let text = format!("{most} tickets wait; ask again later");
        return Err(BedsError::new(ErrorKind::Unavailable, text));
    }
    Ok(turn)
}

/// The request by its key, within its owner: the same one gets the same ticket.
fn once(event: &Event) -> String {
    let name = event.name().unwrap_or_default();
    format!("{}:{}:{name}", event.inbox_key(), event.operation)
}

fn answer(ticket: Ticket) -> Result<Answer> {
    let unwritten = |error| {
        BedsError::new(ErrorKind::Internal, "the ticket could not be written").with_source(error)
    };
    let record = serde_json::value::to_raw_value(&ticket.shown()).map_err(unwritten)?;
    Ok(Answer { id: Some(ticket.id), records: vec![record], ..Answer::default() })
}
