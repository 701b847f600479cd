//! HTTP for the rivals: a loopback server that tells the run its address and ends when its standard input does.

use std::io::{Read as _, Write as _};

use anyhow::Result;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::amqp::Answer;

/// Serves until standard input ends: the parent process has then gone, or wants it gone.
pub(super) async fn serve(routes: Router) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "ready {}", listener.local_addr()?)?;
    let (gone, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        drop(gone);
    });
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served?,
        _ = ended => {}
    }
    Ok(())
}

/// The HTTP response for the answer of a consumer task, or of the database.
pub(super) fn respond(answer: Result<Answer>) -> Response {
    match answer {
        Ok(Answer { status, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
                .into_response()
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error:#}"));
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
