//! [`Pulse`]: the state of a database between two looks at it. While it is away, a call fails at once instead of waiting for
//! it.
//!
//! Not here: how often it is looked at, which the node says.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;

/// No clock was read yet.
const UNKNOWN: i64 = i64::MIN;

#[derive(Debug)]
pub(crate) struct Pulse {
    is_away: AtomicBool,
    /// How far the server's clock is ahead of this node's, in milliseconds.
    ahead: AtomicI64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { is_away: AtomicBool::new(false), ahead: AtomicI64::new(UNKNOWN) }
    }
}

impl Pulse {
    pub(crate) fn note(&self, is_there: bool) {
        self.is_away.store(!is_there, Ordering::Relaxed);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Notes the time of the server's clock, at a time between these two of this node's.
    pub(crate) fn note_clock(&self, said: Timestamp, asked: Timestamp, answered: Timestamp) {
        // The server read its clock between the two:
        // the middle errs by half of that time at most.
        let middle = i64::midpoint(asked.as_millisecond(), answered.as_millisecond());
        self.ahead.store(said.as_millisecond() - middle, Ordering::Relaxed);
    }

    /// How far the server's clock is ahead of this node's, in seconds.
    pub(crate) fn clock_ahead(&self) -> Option<f64> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        (ahead != UNKNOWN).then_some(ahead as f64 / 1000.0)
    }
}
