//! Requests that are refused before they are events: each is reported, as far as one caller may fill the trail.
//!
//! Not here: callers who are not known (caller.rs).

use beds_core::{BedsError, Operation};
use beds_transport::{Context, Refused};

use crate::Room;

/// Refusals of one caller and code that have a record each in a minute; beyond them, they are counted.
const RECORDED_EACH: u64 = 100;

/// Reports a request that no other part reports. A caller decides how often it is refused, and must not decide how many records of
/// others find room.
pub(crate) fn report_refused(
    room: &Room,
    context: &Context,
    operation: Operation,
    (template, id): (Option<&str>, Option<&str>),
    error: &BedsError,
) {
    let cause = format!("{} {}", context.actor.subject, error.code());
    if let Some(unrecorded) = room.refusals.say_first(RECORDED_EACH, &cause) {
        let refused = Refused { template, operation, id, unrecorded };
        room.lent.client.refused(context, &refused, error);
    }
}
