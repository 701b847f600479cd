//! `/.well-known/oauth-protected-resource` (RFC 9728): the issuers whose tokens this gateway accepts, for clients that look for one.
//!
//! Not here: tokens (crate auth), the checks of a caller (caller.rs).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use beds_core::{BedsError, ErrorKind};
use serde_json::json;

use crate::problem::ProblemDocument;
use crate::{Room, RoomState};

pub(crate) const PATH: &str = "/.well-known/oauth-protected-resource";

pub(crate) fn routes() -> Router<Arc<Room>> {
    Router::new().route(PATH, get(metadata))
}

/// The value of `WWW-Authenticate`: the document's place, where there is one, and whether a credential was shown.
pub(crate) fn challenge(room: &Room, headers: &HeaderMap, is_shown: bool) -> HeaderValue {
    let error = is_shown.then(|| "error=\"invalid_token\"".to_owned());
    let place = own_url(room, headers).filter(|_| !room.lent.gate.issuers().is_empty());
    let place = place.map(|url| format!("resource_metadata=\"{url}{PATH}\""));
    let words: Vec<String> = error.into_iter().chain(place).collect();
    let text = format!("Bearer {}", words.join(", "));
    HeaderValue::from_str(text.trim_end()).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
}

async fn metadata(State(room): RoomState, request: Request) -> Response {
    let issuers = room.lent.gate.issuers();
    let Some(resource) = own_url(&room, request.headers()).filter(|_| !issuers.is_empty()) else {
        let text = "this gateway accepts tokens of no issuer";
        let error = BedsError::new(ErrorKind::NoSuchRoute, text);
        return ProblemDocument::new(error, room.event_id()).into_response();
    };
    let document = json!({
        "resource": resource, "authorization_servers": issuers, "bearer_methods_supported": ["header"],
    });
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], document.to_string()).into_response()
}

/// The URL under which the caller asks. The name was compared with those of the gateway before.
fn own_url(room: &Room, headers: &HeaderMap) -> Option<String> {
    let is_encrypted = room.config.tls.is_some() || room.config.behind_proxy;
    let scheme = if is_encrypted { "https" } else { "http" };
    Some(format!("{scheme}://{}", headers.get(HOST)?.to_str().ok()?))
}
