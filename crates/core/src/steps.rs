//! [`Steps`]: where an adapter notes its calls of database objects while it works on an event.
//!
//! Not here: the time of an attempt (attempt.rs), the spans that steps become (crate trail).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::EventId;

/// The calls that were made for an event, in order.
#[derive(Debug, Default)]
pub struct Steps(Mutex<Noted>);

/// The notes of an adapter while an event was worked on.
#[derive(Debug, Default)]
pub struct Noted {
    pub calls: Vec<Step>,
    /// The event whose stored answer was given instead of a call, if so. A redelivered event can find its own.
    pub repeat_of: Option<EventId>,
    /// The inbox said that no earlier delivery or event with this key has written.
    has_asked_inbox: bool,
}

/// One call of a named database object.
#[derive(Debug, Clone)]
pub struct Step {
    pub object: String,
    pub start: Timestamp,
    pub duration: Duration,
    /// The code of its error; none where it answered.
    pub code: Option<&'static str>,
    /// False where its end was not awaited.
    pub is_ended: bool,
}

impl Steps {
    /// A call begins. It is noted when the guard is ended, or dropped.
    pub fn begin<'s>(&'s self, object: &'s str) -> StepGuard<'s> {
        StepGuard {
            steps: self,
            object,
            start: Timestamp::now(),
            clock: Instant::now(),
            ended: None,
            is_forgotten: false,
        }
    }

    /// Everything noted so far, taken out.
    pub fn take(&self) -> Noted {
        std::mem::take(&mut *self.noted())
    }

    /// No call was needed: this event or an earlier one had written under the same key.
    pub fn note_repeat(&self, of: EventId) {
        self.noted().repeat_of = Some(of);
    }

    /// The inbox has said of this event's key that nothing was written under it.
    pub fn note_asked_inbox(&self) {
        self.noted().has_asked_inbox = true;
    }

    /// True where an error tells the effect of a write, and not only the failure of this attempt.
    pub fn has_asked_inbox(&self) -> bool {
        self.noted().has_asked_inbox
    }

    pub fn is_repeat(&self) -> bool {
        self.noted().repeat_of.is_some()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way.
#[derive(Debug)]
pub struct StepGuard<'s> {
    steps: &'s Steps,
    object: &'s str,
    start: Timestamp,
    clock: Instant,
    ended: Option<Option<&'static str>>,
    is_forgotten: bool,
}

impl StepGuard<'_> {
    /// The call ended, with the code of its error if it failed.
    pub fn end(mut self, code: Option<&'static str>) {
        self.ended = Some(code);
    }

    /// It turned out that no call was needed.
    pub fn forget(mut self) {
        self.is_forgotten = true;
    }
}

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        if self.is_forgotten {
            return;
        }
        let step = Step {
            object: self.object.to_owned(),
            start: self.start,
            duration: self.clock.elapsed(),
            code: self.ended.flatten(),
            is_ended: self.ended.is_some(),
        };
        self.steps.noted().calls.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_nobody_waited_for_is_noted_too() {
        let steps = Steps::default();
        steps.begin("a").end(None);
        steps.begin("b").end(Some("BEDS-0016"));
        drop(steps.begin("c"));
        steps.begin("none").forget();
        let noted: Vec<_> =
            steps.take().calls.into_iter().map(|s| (s.object, s.code, s.is_ended)).collect();
        assert_eq!(
            noted,
            [
                ("a".to_owned(), None, true),
                ("b".to_owned(), Some("BEDS-0016"), true),
                ("c".to_owned(), None, false)
            ]
        );
        assert!(steps.take().calls.is_empty());
    }
}
