//! The loop of a write: one attempt after the other, until one tells the end. Both stores use it, so that "takes effect
//! once" is decided in one place.
//!
//! Not here: one attempt with its transaction and its claim (rel/once.rs, rec/once.rs).

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use beds_core::reply::{Answer, Stored};
use beds_core::{Attempt, BedsError, ErrorKind, Result};
use fail::fail_point;

use crate::inbox;

/// How often a write is tried when a connection is lost or a server has no place.
const ATTEMPTS: u32 = 4;

/// How long a write with a requester makes way for others that are in its way, at most. MongoDB refuses one of two writes to a
/// document at once, where MariaDB lets it wait. A write without one waits in a queue, and holds up no task.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of one attempt that gave no answer.
pub(crate) enum Miss {
    /// Final: this attempt had no effect, and none before it had one, because the key was free.
    Refused(BedsError),
    /// Final, and without effect itself: the inbox did not tell the end of the attempts before it.
    Unasked(BedsError),
    /// The object was replaced since it was bound. Without effect.
    Replaced(BedsError),
    /// Without effect, and worth another attempt.
    Again(BedsError),
    /// The commit was sent and its answer did not come.
    Unknown(BedsError),
    /// The server cannot be reached, so another attempt now is of no use. `is_unknown` where the commit was sent.
    Away { error: BedsError, is_unknown: bool },
}

impl Miss {
    pub(crate) fn into_error(self) -> BedsError {
        match self {
            Miss::Refused(error)
            | Miss::Unasked(error)
            | Miss::Replaced(error)
            | Miss::Again(error)
            | Miss::Unknown(error)
            | Miss::Away { error, .. } => error,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Miss::Unknown(_) | Miss::Away { is_unknown: true, .. } => {
                ErrorKind::OutcomeUnknown.code()
            }
            Miss::Refused(error)
            | Miss::Unasked(error)
            | Miss::Replaced(error)
            | Miss::Again(error)
            | Miss::Away { error, .. } => error.code(),
        }
    }
}

/// The pauses of a write, as long as another attempt is worth it.
struct Patience {
    begun: Instant,
    /// Attempts that ended otherwise than by another write in the way.
    lost: u32,
    pauses: ExponentialBackoff,
}

impl Patience {
    fn new() -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(20))
            .with_max_delay(Duration::from_millis(320))
            .without_max_times()
            .with_jitter();
        Self { begun: Instant::now(), lost: 0, pauses: pauses.build() }
    }

    /// The pause before the next attempt; none where this one was the last.
    fn next(&mut self, kind: ErrorKind, attempt: &Attempt) -> Option<Duration> {
        let pause = self.pauses.next()?;
        let is_worth_it = match kind {
            ErrorKind::Unavailable if attempt.is_awaited => {
                self.begun.elapsed() < PATIENCE && pause < attempt.time_to_call()
            }
            _ => {
                self.lost += 1;
                self.lost < ATTEMPTS
            }
        };
        is_worth_it.then_some(pause)
    }
}

/// A write that can be tried again and again under its key.
pub(crate) trait Repeatable: Sync {
    /// One attempt, in a transaction of its own.
    fn once(&self) -> impl Future<Output = Result<Answer, Miss>> + Send;
}

/// Writes once, with as many attempts as it takes. None where the object was replaced since it was bound, and nothing was
/// written.
///
/// # Errors
/// The kinds say how certain the end of this event is: only [`ErrorKind::OutcomeUnknown`] may have had an effect.
pub(crate) async fn write(
    attempt: &Attempt,
    object: &str,
    write: &impl Repeatable,
) -> Result<Option<Answer>> {
    let (mut may_have_happened, mut number) = (false, 0);
    let mut patience = Patience::new();
    loop {
        number += 1;
        let step = attempt.steps.begin(object);
        let outcome = match write.once().await {
            // The connection that an attempt before lost may still hold the key: that is not another request.
            Err(Miss::Unasked(error)) if number > 1 && error.kind == ErrorKind::KeyInFlight => {
                Err(Miss::Again(error))
            }
            outcome => outcome,
        };
        match &outcome {
            // Nothing was called.
            Ok(_) if attempt.steps.is_repeat() => step.forget(),
            outcome => step.end(outcome.as_ref().err().map(Miss::code)),
        }
        let miss = match outcome {
            Ok(answer) => return Ok(Some(answer)),
            Err(miss) => miss,
        };
        // A commit in doubt stays in doubt until a later attempt finds the key free.
        may_have_happened |= matches!(miss, Miss::Unknown(_) | Miss::Away { is_unknown: true, .. });
        let unless_certain =
            |error| if may_have_happened { inbox::outcome_unknown(error) } else { error };
        let error = match miss {
            // The key was free when this attempt claimed it, so no attempt before it had an effect.
            Miss::Refused(error) => return Err(error),
            Miss::Unasked(error) | Miss::Away { error, .. } => return Err(unless_certain(error)),
            // A call that is begun anew knows of no commit
            // in doubt: such a write goes on in this loop.
            Miss::Replaced(_) if !may_have_happened => return Ok(None),
            Miss::Replaced(error) | Miss::Again(error) | Miss::Unknown(error) => {
                unless_certain(error)
            }
        };
        let Some(pause) = patience.next(error.kind, attempt) else {
            return Err(error);
        };
        fail_point!("in_doubt", may_have_happened, |_| unreachable!("only waits are set on it"));
        tokio::time::sleep(pause).await;
    }
}

/// The answer of an event that wrote before. A redelivered event can find its own.
pub(crate) fn repeated(stored: Stored, attempt: &Attempt) -> Answer {
    attempt.steps.note_repeat(stored.event_id.clone());
    let repeat_of = Some(stored.event_id).filter(|first| *first != attempt.event.event_id);
    Answer { repeat_of, ..stored.answer }
}
