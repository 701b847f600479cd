//! How many requests are worked on at once. Beyond that the answer is 503 at once: a queue here would only make every
//! caller wait.
//!
//! Not here: connections (connections.rs).

use beds_core::{BedsError, ErrorKind, Result};
use tokio::sync::SemaphorePermit;

use crate::Room;
use crate::caller::Caller;
use crate::shares::Share;

/// KiB of bodies that are being read at once. Only bytes that have arrived count, so that callers that send nothing take
/// nothing.
pub(crate) const KIB_OF_BODIES: usize = 256 * 1024;

/// An error where the node takes no requests any more.
pub(crate) fn is_open(room: &Room) -> Result<()> {
    if room.lent.probes.stop.is_cancelled() {
        return Err(refused("this node is stopping; not executed"));
    }
    Ok(())
}

/// A place among the requests in flight, of all callers and of one, for as long as the value lives.
pub(crate) struct InFlight<'r> {
    _of_all: SemaphorePermit<'r>,
    _of_caller: Option<Share<'r>>,
}

/// A place for a request of the caller.
pub(crate) fn in_flight<'r>(room: &'r Room, caller: &Caller) -> Result<InFlight<'r>> {
    is_open(room)?;
    let of_caller = match caller.judged() {
        None => None,
        Some(actor) => Some(share(room, &actor.subject)?),
    };
    let of_all = room
        .in_flight
        .try_acquire()
        .map_err(|_| refused("too many requests are in flight; not executed"))?;
    Ok(InFlight { _of_all: of_all, _of_caller: of_caller })
}

fn share<'r>(room: &'r Room, subject: &str) -> Result<Share<'r>> {
    let most = room.config.per_subject_in_flight;
    room.shares.take(subject, most).ok_or_else(|| {
        let text = format!("this caller has {most} requests in flight; not executed");
        BedsError::new(ErrorKind::TooMany, text)
    })
}

/// Room for a part of a body, for as long as the value lives.
pub(crate) fn body(room: &Room, bytes: usize) -> Result<SemaphorePermit<'_>> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    room.bodies
        .try_acquire_many(kib)
        .map_err(|_| refused("too many bodies are being read; not executed"))
}

fn refused(text: &str) -> BedsError {
    BedsError::new(ErrorKind::Unavailable, text)
}
