//! A write that failed and whose requester waits for no answer: the message itself must not get lost.
//!
//! Not here: how a write in doubt is resolved, which is `doubt`'s.

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Event, Result};
use beds_transport::Delivery;
use tokio::time::Instant;

use super::Worker;
use crate::pool::report::Begun;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a message is held. RabbitMQ takes one away that is held for half an hour (`consumer_timeout`).
const HELD: Duration = Duration::from_secs(600);

impl Worker<'_> {
    /// Tries again as long as that can help, and keeps the message among the dead letters if it cannot. It is held meanwhile: handed
    /// out again and again, it would be a dead letter before a database has restarted.
    pub(super) async fn unanswered(
        &self,
        delivery: &Arc<Delivery>,
        begun: &Begun,
        event: &Arc<Event>,
        error: BedsError,
    ) {
        if !self.pool.key.is_write() {
            let records = self.reporter.records(begun, event, delivery, Err(&error), None);
            return self.settle(delivery, records).await;
        }
        let outcome = if can_help(&error, event) { self.again(delivery, event, error).await } else { Some(Err(error)) };
        match outcome {
            Some(Ok(answer)) => {
                let records = self.reporter.records(begun, event, delivery, Ok(&answer), None);
                self.settle(delivery, records).await;
            }
            Some(Err(error)) => self.bury(delivery, Some((begun, event)), "refused", &error).await,
            None => delivery.requeue(),
        }
    }

    /// The outcome of further attempts; none where the node stops, or the message was held for long enough.
    async fn again(&self, delivery: &Delivery, event: &Arc<Event>, mut last: BedsError) -> Option<Result<Answer>> {
        let (mut pause, end) = (FIRST_PAUSE, Instant::now() + HELD);
        let mut is_in_doubt = last.kind == ErrorKind::OutcomeUnknown;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
            if Instant::now() >= end {
                return None;
            }
            let outcome = match self.work(event, delivery).await {
                // What an attempt before may have done, a refusal of this one does not undo.
                Err(_) if is_in_doubt => self.resolve(delivery, event, last).await,
                Err(error) if !self.is_certain(&error, event, delivery) => self.resolve(delivery, event, error).await,
                outcome => Some(outcome),
            };
            match outcome {
                None => (last, is_in_doubt) = (self.late(), true),
                Some(Err(error)) if can_help(&error, event) => {
                    is_in_doubt = error.kind == ErrorKind::OutcomeUnknown;
                    last = error;
                }
                done => return done,
            }
        }
    }
}

/// True where the same write may succeed later.
fn can_help(error: &BedsError, event: &Event) -> bool {
    let is_late = error.kind == ErrorKind::DeadlineExceeded && event.remaining().is_zero();
    error.kind.is_retryable() && !is_late
}
