//! [`Outcome`]: the end of an attempt at a ticket, before it is written; and the decision whether another attempt is worth it.
//!
//! Not here: the attempt (run.rs), the move in the store (store.rs).

use std::time::Duration;

use beds_core::ticket::{Problem, Ticket};
use beds_core::{BedsError, ErrorKind};

use super::store::End;

/// The pause before the second attempt; each further one is four times as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pause before another look at a database that is away, or that still has an earlier attempt.
pub(super) const WHILE_AWAY: Duration = Duration::from_secs(10);

/// The end of an attempt, before it is written.
#[derive(Debug)]
pub(super) enum Outcome {
    End(End),
    /// Another attempt is worth it.
    Again {
        failed: bool,
        pause: Duration,
    },
    /// The ticket is another node's: nothing is written.
    Nothing,
}

/// The outcome of an attempt that failed: another one, where that can help.
pub(super) fn of_failure(ticket: &Ticket, error: &BedsError, attempts: i64) -> Outcome {
    let source = error.source.as_ref().map(ToString::to_string);
    tracing::debug!(
        ticket = ticket.id,
        code = error.code(),
        source,
        "An attempt at a ticket failed."
    );
    // An outage is no fault of the work: it waits until the database is back, as long as it may.
    if error.kind == ErrorKind::StoreUnavailable {
        return Outcome::Again { failed: false, pause: WHILE_AWAY };
    }
    // The step of an attempt before is being rolled back, or its answer is on its way into the inbox.
    if error.kind == ErrorKind::KeyInFlight {
        return Outcome::Again { failed: false, pause: FIRST_PAUSE };
    }
    let failures = ticket.failures + 1;
    // A limit of time ends each attempt alike.
    let is_worth_it = error.kind.is_retryable() && error.kind != ErrorKind::DeadlineExceeded;
    if is_worth_it && failures < attempts {
        let doubled = u32::try_from(failures - 1).unwrap_or(0).min(4);
        return Outcome::Again { failed: true, pause: FIRST_PAUSE * 4_u32.pow(doubled) };
    }
    Outcome::End(End::Failed(Problem::of(error)))
}

/// The word for the trail.
pub(super) fn word(outcome: &Outcome, is_written: bool) -> &'static str {
    match outcome {
        _ if !is_written => "lost",
        Outcome::End(End::Done(_)) => "done",
        Outcome::End(End::Failed(_)) => "failed",
        Outcome::End(End::Cancelled) => "cancelled",
        Outcome::Again { failed: true, .. } => "failed",
        Outcome::Again { failed: false, .. } => "handed over",
        Outcome::Nothing => "lost",
    }
}
