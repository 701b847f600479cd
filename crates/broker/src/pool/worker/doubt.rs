//! The acts of a worker in doubt: whether a write had its effect, and whether it can be recorded.
//!
//! Not here: how an inbox is asked, which is the adapters'.

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Event, Result};
use beds_transport::Delivery;
use beds_transport::topology::DELIVERY_LIMIT;

use super::{REPLY_PATIENCE, Worker, not_recorded};
use crate::dispatch::dispatch;
use crate::pool::report::Begun;

/// How long the inbox is asked about the effect of a write, and how often.
const FIND_OUT: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long it is asked before a possible repeat is refused.
const LOOK: Duration = Duration::from_secs(1);

/// The inbox's word on a write.
enum Found {
    /// It took effect, then or in an earlier event with the same key.
    Done(Answer),
    /// It did not, and it will not.
    Nothing,
    /// The key is another request's.
    Refused(BedsError),
    /// The inbox could not be asked.
    Silence,
}

impl Worker<'_> {
    /// True where the error tells the effect of a write: the inbox was asked, or no delivery and no event before this one
    /// can have had the effect.
    pub(super) fn is_certain(&self, error: &BedsError, event: &Event, delivery: &Delivery) -> bool {
        if !self.pool.key.is_write() {
            return true;
        }
        match error.kind {
            ErrorKind::OutcomeUnknown => false,
            ErrorKind::KeyReused => true,
            ErrorKind::KeyInFlight => !delivery.is_in_doubt(),
            _ if event.steps.has_asked_inbox() => true,
            // The inbox is away too.
            ErrorKind::StoreUnavailable => !delivery.is_in_doubt(),
            _ => !delivery.is_in_doubt() && is_first(event),
        }
    }

    /// Finds out the effect of a write whose error does not tell it. None where the message has to be handed out again to
    /// learn it.
    pub(super) async fn resolve(
        &self,
        delivery: &Delivery,
        event: &Arc<Event>,
        error: BedsError,
    ) -> Option<Result<Answer>> {
        if error.kind == ErrorKind::OutcomeUnknown {
            return self.outcome(delivery, self.ask(event, FIND_OUT).await, without_effect);
        }
        if !delivery.is_in_doubt() {
            // Only another event can have had the effect. Where that cannot be told, this one had none.
            return Some(match self.ask(event, LOOK).await {
                Found::Done(answer) => Ok(answer),
                Found::Nothing | Found::Refused(_) | Found::Silence => Err(error),
            });
        }
        if error.kind.is_retryable() && self.may_begin(event) {
            return self.take_up(delivery, event).await;
        }
        // A template or a parameter that this node does not know says nothing about the delivery before.
        self.outcome(delivery, self.ask(event, FIND_OUT).await, || error)
    }

    /// The answer of a write that took effect before; none where it did not or that is unknown.
    pub(super) async fn done_before(&self, event: &Event) -> Option<Answer> {
        match self.ask(event, FIND_OUT).await {
            Found::Done(answer) => Some(answer),
            Found::Nothing | Found::Refused(_) | Found::Silence => None,
        }
    }

    /// Asks the inbox, and changes nothing.
    async fn ask(&self, event: &Event, patience: Duration) -> Found {
        let asking = async {
            loop {
                match self.factory.recall(event, self.pool.key.store()).await {
                    Ok(Some(answer)) => return Found::Done(answer),
                    Ok(None) => return Found::Nothing,
                    Err(error) if error.kind == ErrorKind::KeyReused => return Found::Refused(error),
                    Err(_) => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        tokio::time::timeout(patience, asking).await.unwrap_or(Found::Silence)
    }

    fn outcome(
        &self,
        delivery: &Delivery,
        found: Found,
        nothing: impl FnOnce() -> BedsError,
    ) -> Option<Result<Answer>> {
        match found {
            Found::Done(answer) => Some(Ok(answer)),
            Found::Nothing => Some(Err(nothing())),
            Found::Refused(error) => Some(Err(error)),
            // Another node may know more, or this one later.
            Found::Silence if delivery.deliveries() < DELIVERY_LIMIT => None,
            Found::Silence => Some(Err(self.late())),
        }
    }

    /// Repeats the write under its key until the database gives a definite answer, at most [`FIND_OUT`]: the services that
    /// were away may be back.
    async fn take_up(&self, delivery: &Delivery, event: &Arc<Event>) -> Option<Result<Answer>> {
        let working = async {
            loop {
                match dispatch(self.factory, event, self.pool.key.store()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if self.is_certain(&error, event, delivery) => return Err(error),
                    Err(_) => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        match tokio::time::timeout(FIND_OUT, working).await {
            Ok(found) => Some(found),
            Err(_) => self.outcome(delivery, Found::Silence, without_effect),
        }
    }

    /// Records the outcome as unknown before the last delivery of a write: if it ends this node too, no later attempt can
    /// report it.
    pub(super) async fn announce(&self, delivery: &Delivery, begun: &Begun, event: &Event) {
        let unknown = self.late();
        let (lineage, audit) = self.reporter.records(begun, event, delivery, Err(&unknown), None);
        let kept = async { self.reporter.recorder.keep(lineage, audit).await.confirmed().await };
        if !tokio::time::timeout(REPLY_PATIENCE, kept).await.unwrap_or(false) {
            tracing::warn!(event.id = event.event_id.0, "The last attempt at a message could not be recorded.");
        }
    }

    /// Answers a read of a template with `audit = "required"` after RabbitMQ has confirmed its audit record.
    pub(super) async fn after_its_record(
        &self,
        delivery: &Arc<Delivery>,
        begun: &Begun,
        event: &Event,
        outcome: Result<Answer>,
    ) {
        let (lineage, audit) = self.reporter.records(begun, event, delivery, outcome.as_ref(), None);
        let kept = async { self.reporter.recorder.keep(lineage, audit).await.confirmed().await };
        let outcome = match tokio::time::timeout(event.remaining(), kept).await {
            Ok(true) => outcome,
            Ok(false) | Err(_) => Err(not_recorded()),
        };
        self.answer(delivery, &event.event_id, event.operation, outcome.as_ref()).await;
        delivery.ack();
    }
}

/// True where no event before this one can have had the same effect: it has a new id from a gateway, and no key.
fn is_first(event: &Event) -> bool {
    event.key.is_none() && event.replay_of.is_none() && event.origin.is_some()
}

fn without_effect() -> BedsError {
    BedsError::new(ErrorKind::DeadlineExceeded, "the write was given up, and it has no effect")
}
