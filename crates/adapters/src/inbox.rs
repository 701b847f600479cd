//! Errors of the inbox, the same for both stores.
//!
//! Not here: how a key is claimed (rel/once.rs, rec/once.rs).

use beds_core::{BedsError, ErrorKind};

pub(crate) fn in_flight() -> BedsError {
    let text = "the first request with this Idempotency-Key is still running; repeat it later with the same key";
    BedsError::new(ErrorKind::KeyInFlight, text)
}

pub(crate) fn key_reused() -> BedsError {
    let text =
        "this Idempotency-Key was used with another request; use a new key for a new request";
    BedsError::new(ErrorKind::KeyReused, text)
}

pub(crate) fn outcome_unknown(source: BedsError) -> BedsError {
    let text =
        "the database did not confirm the commit; repeat the request with the same Idempotency-Key";
    BedsError::new(ErrorKind::OutcomeUnknown, text).with_source(source)
}

/// The deadline passed, and the key was free: neither this delivery nor one before it had an effect.
pub(crate) fn too_late() -> BedsError {
    BedsError::new(
        ErrorKind::DeadlineExceeded,
        "the deadline passed before the write was done; it has no effect",
    )
}
