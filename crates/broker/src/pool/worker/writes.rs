//! The work on a write: an attempt, a decision, and where the attempt does not tell the effect, a search for it.
//!
//! Not here: the decisions (ending.rs), the search (doubt.rs), messages that wait (unanswered.rs).

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Event, Result};
use beds_transport::topology::DELIVERY_LIMIT;
use fail::fail_point;
use futures_util::FutureExt;

use super::ending::{self, Ending, Facts};
use super::proof::Proof;
use super::settle::Taken;
use super::unanswered::has_waited_enough;
use super::{Worker, after_work};

/// The pause before a key is tried again that an earlier delivery's transaction still holds.
const TRY_AGAIN: Duration = Duration::from_millis(100);

impl Worker<'_> {
    /// Writes, and ends the delivery: the effect is known, or the message stays.
    pub(super) async fn write(&self, taken: &Taken<'_>) {
        if taken.delivery.deliveries() >= DELIVERY_LIMIT {
            self.report_before_last_attempt(taken).await;
        }
        let outcome = self.attempt(taken).await;
        after_work().await;
        if let Err(error) = &outcome {
            self.log(&taken.attempt.event, error);
        }
        let facts = self.facts(taken);
        let error = outcome.as_ref().err().map(|error| error.kind);
        match (ending::of_attempt(facts, error), outcome) {
            (Ending::LookUp { search, answers_first }, Err(error)) => {
                if answers_first {
                    self.answer(taken, Err(&error)).await;
                }
                let found = self.look_up(taken, search, error).await;
                let ending = ending::of_look_up(facts, answers_first, found_of(found.as_ref()));
                self.end(taken, ending, found.unwrap_or_else(|| Err(self.late()))).await;
            }
            (ending, outcome) => self.end(taken, ending, outcome).await,
        }
    }

    /// The handler panicked: the message goes back to its queue, or to the dead letters once it was tried often enough.
    pub(super) async fn give_back_after_panic(&self, taken: &Taken<'_>, error: &BedsError) {
        if taken.delivery.deliveries() < DELIVERY_LIMIT {
            return taken.delivery.requeue();
        }
        // It may have had its effect before the panic.
        if let Ok(Some(answer)) = AssertUnwindSafe(self.done_before(taken)).catch_unwind().await {
            return self.end(taken, Ending::Answer, Ok(answer)).await;
        }
        self.bury(taken, "panic", error).await;
    }

    /// The facts that decide how the delivery ends, as they are after an attempt.
    pub(super) fn facts(&self, taken: &Taken<'_>) -> Facts {
        let (delivery, event) = (taken.delivery, &taken.attempt.event);
        Facts {
            is_in_doubt: taken.is_in_doubt(),
            has_requester: delivery.reply_to().is_some(),
            is_first: is_first(event),
            has_asked_inbox: taken.attempt.steps.has_asked_inbox(),
            is_past_deadline: event.remaining().is_zero(),
            has_waited_enough: has_waited_enough(taken.waits(), event),
            can_be_recorded: self.may_begin(event),
            is_of_client: matches!(taken.proof, Proof::Caller(_)),
        }
    }

    /// One attempt at the write, for as long as its deadline and the node allow.
    async fn attempt(&self, taken: &Taken<'_>) -> Result<Answer> {
        let delivery = taken.delivery;
        let patience = match taken.is_in_doubt() {
            // An earlier delivery may have had its effect: the inbox knows, and begins nothing after the deadline.
            true => self.pool.handler_timeout,
            false => taken.attempt.event.remaining().min(self.pool.handler_timeout),
        };
        // A task waits only for a requester; a message without one waits in its queue.
        let is_awaited = taken.is_in_doubt() && delivery.reply_to().is_some();
        let calling = async {
            loop {
                match self.call(taken).await {
                    // The transaction of the delivery before is still open in the database; it will end.
                    Err(error) if error.kind == ErrorKind::KeyInFlight && is_awaited => {
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                    outcome => return outcome,
                }
            }
        };
        self.work(taken, patience, calling).await
    }

    /// Carries out what was decided.
    async fn end(&self, taken: &Taken<'_>, ending: Ending, outcome: Result<Answer>) {
        match (ending, &outcome) {
            (Ending::Wait { is_in_doubt }, _) => {
                return self.wait(taken, is_in_doubt).await;
            }
            (Ending::DeadLetter, Err(error)) => return self.bury(taken, "refused", error).await,
            (Ending::GiveBack | Ending::LookUp { .. }, _) => return taken.delivery.requeue(),
            (Ending::Answer | Ending::DeadLetter, outcome) => {
                self.answer(taken, outcome.as_ref()).await
            }
            (Ending::Report, _) => {}
        }
        fail_point!("replied", |_| super::die());
        let reports = self.reports(taken, outcome.as_ref(), None);
        self.settle(taken.delivery, reports).await;
    }
}

/// True where no event before this one can have had the same effect: it has a new id from a gateway, and no key.
fn is_first(event: &Event) -> bool {
    event.key.is_none() && event.replay_of.is_none() && event.origin.is_some()
}

fn found_of(found: Option<&Result<Answer>>) -> ending::Found {
    match found {
        Some(Ok(_)) => ending::Found::Done,
        Some(Err(_)) => ending::Found::Refused,
        None => ending::Found::Unknown,
    }
}
