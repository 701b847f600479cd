//! The search for the effect of a write that its attempt did not tell.
//!
//! Not here: whether it is searched for (ending.rs), how an inbox is asked (the adapters).

use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Result};
use beds_transport::Delivery;
use beds_transport::topology::DELIVERY_LIMIT;

use super::ending::{Search, is_certain};
use super::settle::Taken;
use super::{REPLY_PATIENCE, Worker};
use crate::dispatch::{dispatch, recall};

/// How long the inbox is asked about the effect of a write, and how often.
const FIND_OUT: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long it is asked before a possible repeat is refused.
const LOOK: Duration = Duration::from_secs(1);

/// The inbox's word on a write.
enum Word {
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
    /// Finds out the effect of a write that ended with `error`. None where the message has to be handed out again to learn it.
    pub(super) async fn look_up(
        &self,
        taken: &Taken<'_>,
        search: Search,
        error: BedsError,
    ) -> Option<Result<Answer>> {
        let nothing = |error: BedsError| match error.kind {
            ErrorKind::OutcomeUnknown => without_effect(),
            _ => error,
        };
        match search {
            // Only another event can have had the effect. Where that cannot be told, this one had none.
            Search::Briefly => Some(match self.ask(taken, LOOK).await {
                Word::Done(answer) => Ok(answer),
                Word::Nothing | Word::Refused(_) | Word::Silence => Err(error),
            }),
            Search::Patiently => match self.ask(taken, FIND_OUT).await {
                Word::Done(answer) => Some(Ok(answer)),
                Word::Nothing => Some(Err(nothing(error))),
                Word::Refused(error) => Some(Err(error)),
                Word::Silence => self.after_silence(taken.delivery),
            },
            Search::Repeat => self.repeat_until_certain(taken).await,
        }
    }

    /// The answer of a write that took effect before; none where it did not or that is unknown.
    pub(super) async fn done_before(&self, taken: &Taken<'_>) -> Option<Answer> {
        match self.ask(taken, FIND_OUT).await {
            Word::Done(answer) => Some(answer),
            Word::Nothing | Word::Refused(_) | Word::Silence => None,
        }
    }

    /// Records the outcome as unknown before the last delivery of a write: if it ends this node too, no later attempt can
    /// report it.
    pub(super) async fn report_before_last_attempt(&self, taken: &Taken<'_>) {
        let unknown = self.late();
        let (lineage, audit) = self.reports(taken, Err(&unknown), None);
        let kept = async { self.reporter.reports.keep(lineage, audit).await.confirmed().await };
        if !tokio::time::timeout(REPLY_PATIENCE, kept).await.unwrap_or(false) {
            let id = &taken.attempt.event.event_id.0;
            tracing::warn!(event.id = id, "The last attempt at a message could not be recorded.");
        }
    }

    /// Asks the inbox, and changes nothing.
    async fn ask(&self, taken: &Taken<'_>, patience: Duration) -> Word {
        let attempt = &taken.attempt;
        // An answer of before is given to a caller only that has the right now.
        let is_of_tickets = self.pool.key.is_of_tickets();
        if !is_of_tickets
            && self.factory.has(&attempt.event.template)
            && let Err(error) = self.factory.check_right(&attempt.event)
        {
            return Word::Refused(error);
        }
        let asking = async {
            loop {
                match recall(self.factory, attempt, &self.pool.key).await {
                    // A ticket is its owner's, who has asked for it.
                    Ok(Some(answer)) if is_of_tickets => return Word::Done(answer),
                    Ok(Some(answer)) => {
                        let masked = self.factory.mask(&attempt.event, answer);
                        return masked.map_or_else(Word::Refused, Word::Done);
                    }
                    Ok(None) => return Word::Nothing,
                    Err(error) if error.kind == ErrorKind::KeyReused => {
                        return Word::Refused(error);
                    }
                    // Asks again, also where another transaction
                    // still holds the key: it will end.
                    Err(_) => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        tokio::time::timeout(patience, asking).await.unwrap_or(Word::Silence)
    }

    /// Repeats the write under its key until the database gives a definite answer, at most [`FIND_OUT`]: the services that
    /// were away may be back.
    async fn repeat_until_certain(&self, taken: &Taken<'_>) -> Option<Result<Answer>> {
        let repeating = async {
            loop {
                match dispatch(self.factory, &taken.attempt, &self.pool.key).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if is_certain(self.facts(taken), error.kind) => return Err(error),
                    Err(_) => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        match tokio::time::timeout(FIND_OUT, repeating).await {
            Ok(found) => Some(found),
            Err(_) => self.after_silence(taken.delivery),
        }
    }

    /// Another node may know more, or this one later; behind the last delivery the effect stays unknown.
    fn after_silence(&self, delivery: &Delivery) -> Option<Result<Answer>> {
        (delivery.deliveries() >= DELIVERY_LIMIT).then(|| Err(self.late()))
    }
}

fn without_effect() -> BedsError {
    BedsError::new(ErrorKind::DeadlineExceeded, "the write was given up, and it has no effect")
}
