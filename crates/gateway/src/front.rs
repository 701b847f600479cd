//! The checks in front of every route under `/v1`: for which host, from which origin, in which form. A page in a
//! browser of the same machine must not reach the records by a name of its own.
//!
//! Not here: the content of a request, which each route reads.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN,
};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use beds_core::{BedsError, ErrorKind, Result};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::Room;
use crate::problem::ProblemDocument;

/// A browser's own word on the origin of a request, which no page can change.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// A header that a form of a page elsewhere cannot send.
const BEDS_REQUEST: HeaderName = HeaderName::from_static("beds-request");

/// Headers that a page of another origin may send.
const SENT: [&str; 6] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "beds-timeout",
    "beds-request",
    "traceparent",
];
/// Headers that it may read.
const READ: [&str; 5] =
    ["beds-event-id", "location", "retry-after", "idempotent-replayed", "www-authenticate"];

/// A layer around the routes.
pub(crate) async fn check(State(room): State<Arc<Room>>, request: Request, next: Next) -> Response {
    let checked = host(&room, &request)
        .and_then(|()| origin(&room, request.headers()))
        .and_then(|()| form(&request));
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let is_encoded = request.headers().contains_key(CONTENT_ENCODING);
            let mut response = ProblemDocument::new(error, room.event_id()).into_response();
            // RFC 9110, 15.5.16: the answer to a refused coding names the ones that are taken.
            if is_encoded {
                response
                    .headers_mut()
                    .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            response
        }
    };
    let headers = response.headers_mut();
    // Answers hold records: no cache keeps them, and no browser guesses their type.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A layer that tells browsers which requests pages of these origins may make, and which headers of an answer they may read.
pub(crate) fn pages(origins: &[String]) -> CorsLayer {
    let origins = origins.to_vec();
    let is_allowed = move |origin: &HeaderValue, _: &Parts| {
        let origin = origin.to_str().unwrap_or_default();
        origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(SENT.map(HeaderName::from_static))
        .expose_headers(READ.map(HeaderName::from_static))
        .max_age(Duration::from_secs(600))
}

fn host(room: &Room, request: &Request) -> Result<()> {
    let headers = request.headers();
    // A header that is no text becomes "?", which is no known host.
    let mut named: Vec<&str> =
        headers.get_all(HOST).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    named.extend(request.uri().authority().map(|authority| authority.as_str()));
    // No browser speaks HTTP/1.0.
    let is_missing = named.is_empty() && request.version() != Version::HTTP_10;
    let is_known = |name: &&str| {
        let Some(name) = name_of(name) else { return false };
        let is_own =
            address_of(&name).is_some_and(|ip| ip.is_loopback() || ip == room.config.listen.ip());
        is_own
            || name.eq_ignore_ascii_case("localhost")
            || room.config.hosts.iter().any(|own| own.eq_ignore_ascii_case(&name))
    };
    if is_missing || !named.iter().all(is_known) {
        let text = "the Host header names no host of this gateway; ask by its address, or add the name to services.appserver.hosts";
        return Err(BedsError::new(ErrorKind::WrongHost, text));
    }
    Ok(())
}

/// The name in `name:port`, in which an address of version 6 stands in brackets. None where it is no such text.
fn name_of(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    let name = authority.host();
    let is_one =
        !host.contains('@') && (name.len() == host.len() || authority.port_u16().is_some());
    is_one.then(|| name.to_owned())
}

/// The address that a name is.
fn address_of(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

fn origin(room: &Room, headers: &HeaderMap) -> Result<()> {
    let refused = || {
        let text = "a page of another origin made this request; add its origin to services.appserver.origins if it may";
        Err(BedsError::new(ErrorKind::ForeignOrigin, text))
    };
    // A header that stands twice says nothing that could be believed.
    let text = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values
            .next()
            .map(|value| if values.next().is_some() { "?" } else { value.to_str().unwrap_or("?") })
    };
    if let Some(origin) = text(&ORIGIN) {
        let of = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
        let is_own =
            text(&HOST).is_some_and(|host| of.is_some_and(|(_, of)| of.eq_ignore_ascii_case(host)));
        let is_allowed = is_own
            || room.config.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        return if is_allowed { Ok(()) } else { refused() };
    }
    // A GET of a page has no Origin.
    match text(&FETCH_SITE) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => refused(),
    }
}

fn form(request: &Request) -> Result<()> {
    let headers = request.headers();
    let unsupported = |text: &str| Err(BedsError::new(ErrorKind::UnsupportedMediaType, text));
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return unsupported("the body must not be compressed: send it without Content-Encoding");
    }
    // A page elsewhere can make a browser send any body, and none, with a POST; it cannot add these headers.
    let is_deliberate = headers.contains_key(BEDS_REQUEST) || is_json(headers);
    if request.method() == Method::POST && !is_deliberate {
        return unsupported(
            "a POST needs the header Content-Type: application/json; one without a body, that or Beds-Request: 1",
        );
    }
    Ok(())
}

/// True where the body is said to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_its_name_whatever_its_port() {
        for (host, name) in [
            ("localhost:8080", Some("localhost")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a:b", None),
            ("localhost:99999999", None),
            ("ana@localhost", None),
            ("]127.0.0.1[", None),
            ("a, localhost", None),
        ] {
            assert_eq!(name_of(host).as_deref(), name, "{host}");
        }
        assert!(address_of("[::1]").is_some() && address_of("127.0.0.1").is_some());
        for name in ["[127.0.0.1]", "::1", "localhost", "[::1", "127.1"] {
            assert!(address_of(name).is_none(), "{name}");
        }
    }
}
