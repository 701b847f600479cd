//! How many requests are worked on at once. Beyond that the answer is 503 at once: a queue here would only make every
//! caller wait.

use beds_core::{BedsError, ErrorKind, Result};
use tokio::sync::SemaphorePermit;

use crate::Room;

/// A place among the requests in flight, for as long as the value lives.
pub(crate) fn in_flight(room: &Room) -> Result<SemaphorePermit<'_>> {
    let refuse = |text: &str| BedsError::new(ErrorKind::Unavailable, text);
    if room.lent.probes.stop.is_cancelled() {
        return Err(refuse("this node is stopping; not executed"));
    }
    room.in_flight.try_acquire().map_err(|_| refuse("too many requests are in flight; not executed"))
}
