//! [`Believed`]: an answer of the store that a node believes for a while, so that its tasks do not all ask. An index in which entries come
//! and go costs the store more with each that has gone in the last minutes.
//!
//! Not here: the questions (store.rs).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Believed<T>(Mutex<Option<(Instant, T)>>);

impl<T: Clone> Believed<T> {
    /// The answer, where it is not older.
    pub(crate) fn get(&self, longest: Duration) -> Option<T> {
        self.known().clone().filter(|(at, _)| at.elapsed() < longest).map(|(_, answer)| answer)
    }

    pub(crate) fn note(&self, answer: T) {
        *self.known() = Some((Instant::now(), answer));
    }

    /// It has changed.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Believed<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}
