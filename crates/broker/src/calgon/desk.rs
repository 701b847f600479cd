//! The desk of tickets: takes requests for them from the queue `calgon`. Each is stored before it is answered.
//!
//! Not here: the work (runner.rs), the moves in the store (store.rs).

use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_core::reply::Answer;
use beds_core::templates::is_for_callers;
use beds_core::ticket::{Ticket, TicketState, no_such_ticket};
use beds_core::{Attempt, BedsError, ErrorKind, Event, Operation, Result, TICKET_RESULTS, TICKETS};

use super::Calgon;
use super::hands::{Hand, Handed};
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
        (TICKETS, Operation::Update) if event.actor.has_every_right() => {
            let ticket = store.retry(of_one()?, calgon.config.start_within, keep).await?;
            Some(ticket.ok_or_else(not_to_retry)?)
        }
        (TICKET_RESULTS, Operation::Delete) => store.drop_result(of_one()?, owner).await?,
        (TICKETS | TICKET_RESULTS, _) => {
            let text = format!("{} is read through its own queue", event.template);
            return Err(BedsError::new(ErrorKind::NoSuchOperation, text));
        }
        _ => Some(submit(factory, calgon, event, None).await?),
    };
    let ticket = ticket.ok_or_else(no_such_ticket)?;
    if is_submit(event) {
        check_same(&ticket, event)?;
    }
    attempt.steps.note_asked_inbox();
    // One task is enough: it looks again when it has done its ticket.
    if ticket.state != TicketState::Running {
        if ticket.state == TicketState::Cancelling {
            // Between two attempts, it is found as one of a silent node.
            calgon.all_speak.forget();
        }
        calgon.bell.ring();
    }
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
        Some(ticket) => {
            check_same(&ticket, event)?;
            answer(ticket).map(Some)
        }
    }
}

/// An error where the ticket under the key is that of another request.
fn check_same(ticket: &Ticket, event: &Event) -> Result<()> {
    if ticket.fingerprint == event.fingerprint() {
        return Ok(());
    }
    let text = "the Idempotency-Key belongs to the ticket of another request; use a new key";
    Err(BedsError::new(ErrorKind::KeyReused, text))
}

fn not_to_retry() -> BedsError {
    let text = "no failed ticket of this id still has its values; ask for the work again";
    BedsError::new(ErrorKind::NoSuchTicket, text)
}

fn is_submit(event: &Event) -> bool {
    !matches!(event.template.as_str(), TICKETS | TICKET_RESULTS)
}

/// Keeps a ticket for the event, or answers the one that it got before.
pub(super) async fn submit(
    factory: &Factory,
    calgon: &Calgon,
    event: &Event,
    schedule: Option<&str>,
) -> Result<Ticket> {
    is_for_callers(&event.template, event.operation)?;
    let rights = factory.check_right(event)?;
    event.check_arguments()?;
    let job = match (&event.job, event.operation) {
        (Some(job), Operation::Job) => Some(factory.job(&event.template, job)?),
        (None, Operation::Job) => {
            let error = BedsError::new(ErrorKind::BadEvent, "the event has no job");
            return Err(error.with_field("job"));
        }
        _ => None,
    };
    let adapter = factory.adapter_of(&event.template)?;
    // Said now, and not by a ticket that fails.
    adapter.check(event).map_err(|error| rights.quiet(event, error))?;
    let store = Store(factory);
    let (owner, once) = (&event.actor.subject, once(event));
    let turn = match turn(&store, calgon, owner).await {
        Ok(turn) => turn,
        // A repeat gets its ticket, however many wait.
        Err(error) => return store.asked(owner, &once).await?.ok_or(error),
    };
    let text = serde_json::to_string(event).map_err(|error| {
        BedsError::new(ErrorKind::Internal, "the event could not be kept").with_source(error)
    })?;
    let database = factory.database(&event.template)?;
    let asked = Asked {
        id: &uuid::Uuid::new_v4().to_string(),
        event,
        schedule,
        text: &text,
        database,
        definition: job.map(|job| job.digest()).unwrap_or_default(),
        once,
        turn,
        begun_by: None,
        config: &calgon.config,
    };
    // The runs of a job with a limit are counted before one begins.
    let hand =
        if factory.is_limited(&event.template, event.name()) { None } else { calgon.hands.take() };
    keep(&store, calgon, asked, hand).await
}

/// Stores a ticket, and gives it to the idle task where there is one.
async fn keep(
    store: &Store<'_>,
    calgon: &Calgon,
    asked: Asked<'_>,
    hand: Option<Hand>,
) -> Result<Ticket> {
    let (id, text) = (asked.id, asked.text);
    let asked = Asked { begun_by: hand.as_ref().map(|hand| hand.node.as_str()), ..asked };
    let now = Instant::now();
    // Where no answer came, the ticket may be there: it must not be said that it is not.
    let ticket = store.submit(&asked).await.map_err(|error| match error.kind.status() {
        500.. => {
            let text = "it is not known whether there is a ticket; ask again with the same Idempotency-Key";
            BedsError::new(ErrorKind::OutcomeUnknown, text).with_source(error)
        }
        _ => error,
    })?;
    // Under the same key, another one may have been there.
    let is_new = ticket.id == id;
    if let Some(hand) = hand.filter(|_| is_new) {
        let ticket = Ticket { event: Some(text.to_owned()), ..ticket.clone() };
        if let Err(handed) = hand.give(Handed { ticket, asked: now }) {
            // Its task has ended. Where this fails, the ticket is taken over when its lease ends.
            drop(store.give_back(&handed.ticket, false, Duration::ZERO).await);
            calgon.bell.ring();
        }
    }
    Ok(ticket)
}

/// The turn of a caller's next ticket.
///
/// # Errors
/// [`ErrorKind::TooMany`], where the caller has too many that wait; [`ErrorKind::Unavailable`], where all have.
async fn turn(store: &Store<'_>, calgon: &Calgon, owner: &str) -> Result<i64> {
    let (most, most_own) = (calgon.config.max_queued.get(), calgon.config.max_queued_of_one.get());
    let next_place = || calgon.pace.next_place(calgon.config.instances.work.get());
    // A caller who seems to have too many is looked at anew: some may have been begun.
    let known = calgon.turns.take(owner).filter(|(own, _)| *own < most_own);
    let (own, turn) = match known {
        Some(known) => known,
        None => {
            let (own, turn) = store.load(owner, most_own).await?;
            calgon.turns.note(owner, own, turn);
            (own, turn)
        }
    };
    if own >= most_own {
        let text = format!("{own} tickets of this caller wait; cancel some, or ask again later");
        let error = BedsError::new(ErrorKind::TooMany, text);
        return Err(error.with_retry_after(next_place()));
    }
    if calgon.crowd.is_over(most, || store.queued()).await? {
        let text = format!("{most} tickets wait; ask again later");
        let error = BedsError::new(ErrorKind::Unavailable, text);
        return Err(error.with_retry_after(next_place()));
    }
    Ok(turn)
}

/// The request by its key, within its owner: the same one gets the same ticket.
pub(super) fn once(event: &Event) -> String {
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
