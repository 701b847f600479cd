//! Bytes that the caller is still sending when its answer is ready: a body that is too large, or unwanted. A
//! connection that is closed with unread bytes in it is reset, and the reset can overtake the answer; so the rest is read
//! and thrown away, for a bounded time, and the caller is told not to use the connection again.
//!
//! Not here: the limits of a body that is wanted (request.rs).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::oneshot;

use crate::Room;

/// A layer around every route.
pub(crate) async fn read_on(
    State(room): State<Arc<Room>>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let (give_back, mut given_back) = oneshot::channel();
    let body = Watched { body: Some(body.into_data_stream()), give_back: Some(give_back) };
    let mut response = next.run(Request::from_parts(head, Body::from_stream(body))).await;
    // A body that was read to its end does not come back.
    let Ok(mut rest) = given_back.try_recv() else { return response };
    // Most refused bodies are small and here already: their connections go on.
    if throw_away(&mut rest).now_or_never().is_none() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let tasks = room.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                _ = tokio::time::timeout(room.config.body_timeout, throw_away(&mut rest)) => {}
                () = room.lent.probes.stop.cancelled() => {}
            }
        });
    }
    response
}

async fn throw_away(rest: &mut BodyDataStream) {
    while let Some(Ok(_)) = rest.next().await {}
}

/// A body that comes back when it is dropped before its end.
struct Watched {
    body: Option<BodyDataStream>,
    give_back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Watched {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let chunk = ready!(body.poll_next_unpin(context));
        if !matches!(chunk, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(chunk)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back)) = (self.body.take(), self.give_back.take()) {
            // It is left where the request outlived its answer.
            drop(give_back.send(body));
        }
    }
}
