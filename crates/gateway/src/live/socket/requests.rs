//! [`Inner`]: the gateway's own routes, for requests that come over a WebSocket. They are the same routes with the same rights, limits,
//! reports and errors as over HTTP; only the caller is known by the connection.
//!
//! Not here: routes that have an answer without an end, which have verbs of their own (session.rs).

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::Response as Http;
use beds_core::text::quote;
use beds_core::{BedsError, ErrorKind, Result};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::frames::{Requested, answer};
use crate::caller::{Caller, Forwarded};

/// Headers of a request that mean a thing to a route.
const TAKEN: [&str; 6] =
    ["idempotency-key", "beds-timeout", "beds-request", "prefer", "traceparent", "accept"];
/// Headers of an answer that mean a thing to a caller.
const GIVEN: [&str; 6] = [
    "beds-event-id",
    "location",
    "retry-after",
    "idempotent-replayed",
    "preference-applied",
    "content-type",
];
/// The largest answer, in bytes. A larger one is read over HTTP.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The routes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inner(pub(crate) Router);

impl Inner {
    /// Does a request and answers its message.
    pub(super) async fn answer(self, id: &str, asked: Request) -> Result<String> {
        let response: Http = match self.0.oneshot(asked).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        let too_large = |_| {
            let text = format!("the answer has more than {MOST_BYTES} bytes; ask for it over HTTP");
            BedsError::new(ErrorKind::BodyTooLarge, text)
        };
        let body = to_bytes(body, MOST_BYTES).await.map_err(too_large)?;
        let given = GIVEN.iter().filter_map(|name| {
            Some(((*name).to_owned(), Value::from(head.headers.get(*name)?.to_str().ok()?)))
        });
        let headers = Value::Object(given.collect());
        Ok(answer(id, head.status.as_u16(), &headers, &shown(&body)))
    }
}

/// A body as JSON: as it is where it is one value, as a text where it is none, such as lines of a result.
fn shown(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body);
    match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
        Ok(value) => value.get().to_owned(),
        Err(_) if text.is_empty() => "null".to_owned(),
        Err(_) => json!(text).to_string(),
    }
}

/// The request of a message, in the name of the connection's caller.
pub(super) fn request(asked: &Requested<'_>, caller: Caller, from: &Forwarded) -> Result<Request> {
    let bad = |text: String| BedsError::new(ErrorKind::MalformedBody, text);
    let method: Method = match asked.method.as_str() {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        other => {
            return Err(bad(format!(
                "`method` is GET, POST, PATCH or DELETE, not {}",
                quote(other)
            )));
        }
    };
    let uri: Uri =
        asked.path.parse().map_err(|_| bad("`path` is no path of a request".to_owned()))?;
    if uri.authority().is_some() || !uri.path().starts_with("/v1/") {
        return Err(bad("`path` begins with /v1/".to_owned()));
    }
    let body = asked.body.map_or_else(Body::empty, |body| Body::from(body.get().to_owned()));
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    for (name, value) in &asked.headers {
        let lower = name.to_ascii_lowercase();
        let taken = TAKEN.iter().find(|taken| **taken == lower);
        let value = HeaderValue::from_str(value).ok();
        let (Some(taken), Some(value)) = (taken, value) else {
            let text = format!(
                "the header {} has no meaning here; it takes: {}",
                quote(name),
                TAKEN.join(", ")
            );
            return Err(BedsError::new(ErrorKind::BadHeader, text).with_field(lower));
        };
        request.headers_mut().insert(HeaderName::from_static(taken), value);
    }
    if asked.body.is_some() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    caller.enter(&mut request);
    from.enter(&mut request);
    Ok(request)
}
