//! How many requests are worked on at once. Beyond that the answer is 503 at once: a queue here would only make every
//! caller wait.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use beds_core::{BedsError, ErrorKind};

use crate::Room;
use crate::problem::Problem;

pub(crate) async fn in_flight(State(room): State<Arc<Room>>, request: Request, next: Next) -> Response {
    let refuse = |text: &str| Problem::from(BedsError::new(ErrorKind::Unavailable, text)).into_response();
    if room.stop.is_cancelled() {
        return refuse("this node is stopping; not executed");
    }
    match room.in_flight.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => refuse("too many requests are in flight; not executed"),
    }
}
