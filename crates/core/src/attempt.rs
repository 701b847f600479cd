//! [`Attempt`]: one delivery's work on an event. It never travels.
//!
//! Not here: the event itself (event.rs), the calls that are noted (steps.rs).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::Event;
use crate::steps::Steps;

/// An event, the calls that were made for it, and the time that they may take.
#[derive(Debug)]
pub struct Attempt {
    pub event: Event,
    /// The calls of named objects so far.
    pub steps: Steps,
    /// A requester waits for the answer: the work may make way for others for a while, in place of a wait in a queue.
    pub is_awaited: bool,
    /// The end of the node's work on it, beside the event's deadline. Nothing is begun or committed after that.
    until: Timestamp,
}

impl Attempt {
    /// An attempt that begins now and takes `longest` at most.
    pub fn new(event: Event, longest: Duration) -> Self {
        let longest = SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX);
        let until = Timestamp::now().checked_add(longest).unwrap_or(Timestamp::MAX);
        Self { event, steps: Steps::default(), is_awaited: false, until }
    }

    /// The time left for the work itself: until the deadline, and not longer than the node works on one event.
    pub fn time_to_work(&self) -> Duration {
        let allowed =
            Duration::try_from(self.until.duration_since(Timestamp::now())).unwrap_or_default();
        self.event.remaining().min(allowed)
    }

    /// The time left for a call in a database. It ends a little before the deadline, so that the caller learns of it in time.
    pub fn time_to_call(&self) -> Duration {
        let left = self.time_to_work();
        left.saturating_sub((left / 10).min(Duration::from_millis(100)))
    }
}
