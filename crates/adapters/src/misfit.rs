//! [`Misfit`]: the reason why an object cannot be bound to an operation of a template, and the way out.
//!
//! Not here: its place in the template's file, which `operations.rs` adds; faults of a request.

/// A mistake that keeps an object from being bound.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) message: String,
    /// The thing to do about it.
    pub(crate) fix: String,
}

impl Misfit {
    pub(crate) fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }
}
