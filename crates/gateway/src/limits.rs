//! How many requests are worked on at once. Beyond that the answer is 503 at once: a queue here would only make every
//! caller wait.
//!
//! Not here: connections (connections.rs).

use std::sync::Arc;

use beds_core::{BedsError, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};

use crate::Room;
use crate::caller::Caller;
use crate::shares::Share;

/// KiB of bodies that are being read at once. Only bytes that have arrived count, so that callers that send nothing take
/// nothing.
pub(crate) const KIB_OF_BODIES: usize = 256 * 1024;
/// Those of one caller.
const KIB_OF_ONE: usize = KIB_OF_BODIES / 4;

/// An error where the node takes no requests any more.
pub(crate) fn is_open(room: &Room) -> Result<()> {
    if room.lent.probes.stop.is_cancelled() {
        return Err(refused("this node is stopping; not executed"));
    }
    Ok(())
}

/// A place among the requests in flight, of all callers and of one, for as long as the value lives.
pub(crate) struct InFlight {
    _of_all: OwnedSemaphorePermit,
    _of_caller: Option<Share>,
}

/// One of the places of a caller; none where callers are not known. A caller has it from before its body is read.
pub(crate) fn share(room: &Room, caller: &Caller) -> Result<Option<Share>> {
    is_open(room)?;
    let Some(actor) = caller.judged() else { return Ok(None) };
    let most = room.config.per_subject_in_flight;
    match room.shares.take(&actor.subject, 1, most) {
        Some(share) => Ok(Some(share)),
        None => Err(too_many(&format!("this caller has {most} requests in flight"))),
    }
}

/// A place for a request of the caller.
pub(crate) fn in_flight(room: &Room, of_caller: Option<Share>) -> Result<InFlight> {
    is_open(room)?;
    let of_all = Arc::clone(&room.in_flight)
        .try_acquire_owned()
        .map_err(|_| refused("too many requests are in flight; not executed"))?;
    Ok(InFlight { _of_all: of_all, _of_caller: of_caller })
}

/// Room for a part of a body, for as long as the value lives.
pub(crate) struct BodyRoom<'r> {
    _of_all: SemaphorePermit<'r>,
    _of_caller: Option<Share>,
}

/// Room for a part of a body of the caller.
pub(crate) fn body<'r>(room: &'r Room, caller: &Caller, bytes: usize) -> Result<BodyRoom<'r>> {
    let kib = bytes.div_ceil(1024);
    let of_caller = match caller.judged() {
        None => None,
        Some(actor) => match room.body_shares.take(&actor.subject, kib, KIB_OF_ONE) {
            Some(share) => Some(share),
            None => return Err(too_many("too many bodies of this caller are being read")),
        },
    };
    let of_all = room
        .bodies
        .try_acquire_many(u32::try_from(kib).unwrap_or(u32::MAX))
        .map_err(|_| refused("too many bodies are being read; not executed"))?;
    Ok(BodyRoom { _of_all: of_all, _of_caller: of_caller })
}

fn too_many(text: &str) -> BedsError {
    BedsError::new(ErrorKind::TooMany, format!("{text}; not executed"))
}

fn refused(text: &str) -> BedsError {
    BedsError::new(ErrorKind::Unavailable, text)
}
