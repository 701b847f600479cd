//! The parts of a request besides its path: deadline, idempotency key, body and query. Every mistake is a clear problem.
//!
//! Not here: which template and operation a path means, which is `records`'s.

use std::time::Duration;

use axum::extract::{Path, Request};
use axum::http::header::{
    CONTENT_LENGTH, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use axum::http::{HeaderMap, Uri};
use beds_core::event::check_key;
use beds_core::fields::values_in;
use beds_core::text::quote;
use beds_core::text::what_is_wrong;
use beds_core::traceparent::{TRACEPARENT, is_traceparent};
use beds_core::{BedsError, ErrorKind, Fields, Origin, Result};
use beds_transport::Context;
use futures_util::StreamExt;
use jiff::SignedDuration;
use serde_json::Value;

use crate::caller::Caller;
use crate::front::is_json;
use crate::{Room, caller, limits};

/// The context of a request, a new root event, with the caller's deadline and key. A bad header leaves the defaults.
pub(crate) fn context(room: &Room, request: &Request) -> (Context, Result<()>) {
    let mut context = room.lent.client.context(room.config.default_timeout);
    context.actor = Caller::of(request).actor;
    context.origin = Some(Origin {
        address: caller::address(room, request),
        traceparent: traceparent(request.headers()),
    });
    let outcome = read(room, request.headers()).map(|(patience, key)| {
        context.patience = patience;
        context.key = key;
    });
    (context, outcome)
}

/// The template that a path of a record route names, if there is one for the caller: no other text of a path is ever reported.
pub(crate) fn template(room: &Room, uri: &Uri, caller: &Caller) -> Option<String> {
    let name = uri.path().split('/').nth(3)?;
    let templates = room.lent.templates.load();
    templates.known(name, caller.judged()).ok().map(|template| template.name.clone())
}

/// The caller's trace, if it is one. Other words are ignored.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    is_traceparent(text).then(|| text.to_owned())
}

fn read(room: &Room, headers: &HeaderMap) -> Result<(Duration, Option<String>)> {
    let key = text(headers, "Idempotency-Key")?;
    if let Some(key) = &key {
        check_key(key)?;
    }
    let patience = match text(headers, "Beds-Timeout")? {
        None => room.config.default_timeout,
        Some(text) => patience(&text, room.config.max_timeout)?,
    };
    Ok((patience, key))
}

/// `5s`, `250ms`, or a plain number of seconds.
fn patience(text: &str, longest: Duration) -> Result<Duration> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()),
    };
    let fits = |d: &Duration| !d.is_zero() && *d <= longest;
    parsed.filter(fits).ok_or_else(|| {
        let text = format!(
            "Beds-Timeout is a duration such as 5s or 250ms, of at most {}s",
            longest.as_secs()
        );
        BedsError::new(ErrorKind::BadHeader, text).with_field("Beds-Timeout")
    })
}

fn text(headers: &HeaderMap, name: &'static str) -> Result<Option<String>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |text: &str| {
        BedsError::new(ErrorKind::BadHeader, format!("{name} {text}")).with_field(name)
    };
    if values.next().is_some() {
        return Err(bad("must be given once"));
    }
    value
        .to_str()
        .map(|text| Some(text.to_owned()))
        .map_err(|_| bad("has characters other than printable ASCII"))
}

/// Refuses the parts of a write that would be ignored: an ignored condition is a lost update.
pub(crate) fn check_write(request: &Request) -> Result<()> {
    let conditions = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];
    if let Some(condition) =
        conditions.into_iter().find(|name| request.headers().contains_key(name))
    {
        let text = format!("{condition} is not supported on writes; nothing was changed");
        return Err(BedsError::new(ErrorKind::BadHeader, text).with_field(condition.as_str()));
    }
    if let Some(query) = request.uri().query().filter(|query| !query.is_empty()) {
        let name = query.split(['=', '&']).next().unwrap_or_default();
        let text = format!(
            "a write takes no arguments in its URL, and this one has {}; nothing was changed",
            quote(name)
        );
        return Err(BedsError::new(ErrorKind::UnknownField, text));
    }
    Ok(())
}

/// The body as fields: one JSON object, not larger and not later than the limits.
pub(crate) async fn fields(room: &Room, request: Request) -> Result<Fields> {
    let headers = request.headers();
    if !is_json(headers) {
        let text =
            "send the fields as application/json, with the header Content-Type: application/json";
        return Err(BedsError::new(ErrorKind::UnsupportedMediaType, text));
    }
    let most = room.config.max_body_bytes;
    let too_large =
        || BedsError::new(ErrorKind::BodyTooLarge, format!("the body has more than {most} bytes"));
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // Refuses by the announced length, before a byte is read.
    if announced.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large());
    }
    let caller = Caller::of(&request);
    let reading = async {
        let mut chunks = request.into_body().into_data_stream();
        let (mut bytes, mut room_for_it) = (Vec::new(), Vec::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| {
                BedsError::new(ErrorKind::MalformedBody, "the body could not be read to its end")
            })?;
            if bytes.len() + chunk.len() > most {
                return Err(too_large());
            }
            room_for_it.push(limits::body(room, &caller, chunk.len())?);
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, room_for_it))
    };
    let late = || BedsError::new(ErrorKind::MalformedBody, "the body did not arrive in time");
    // Holds the room until the fields are read: the bytes are in memory until then.
    let (bytes, _room_for_it) =
        tokio::time::timeout(room.config.body_timeout, reading).await.map_err(|_| late())??;
    let most = room.config.max_body_values;
    // Counts before it parses: a body of 1 MB took 72 MB of memory once.
    if values_in(&bytes) > most {
        return Err(BedsError::new(
            ErrorKind::BodyTooLarge,
            format!("the body has more than {most} values"),
        ));
    }
    let fields = Fields::from_slice(&bytes).map_err(|e| {
        BedsError::new(
            ErrorKind::MalformedBody,
            format!("the body is not usable: {}", what_is_wrong(&e)),
        )
    })?;
    // An event holds the number as it was read, so only here the sent text is known.
    fields.check_exact()?;
    Ok(fields)
}

/// The query string as fields, each a text.
pub(crate) fn query(uri: &Uri) -> Result<Fields> {
    let bad = |text: String| BedsError::new(ErrorKind::MalformedBody, text);
    let mut fields = Fields::new();
    let Some(query) = uri.query() else { return Ok(fields) };
    // The extractor would put a replacement character in the place of bytes that are not UTF-8.
    if percent_encoding::percent_decode_str(query).decode_utf8().is_err() {
        return Err(bad("the query is not UTF-8; percent-encode each byte of it".to_owned()));
    }
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(pairs)| pairs)
        .map_err(|_| bad(format!("the query {} cannot be read", beds_core::text::quote(query))))?;
    for (name, value) in pairs {
        if fields.insert(name.clone(), Value::String(value)).is_some() {
            let name = beds_core::text::quote(&name);
            return Err(bad(format!("the argument {name} stands twice in the query")));
        }
    }
    Ok(fields)
}

/// The parts of a path.
pub(crate) type Params<T> = std::result::Result<Path<T>, axum::extract::rejection::PathRejection>;

pub(crate) fn path_of<T>(path: Params<T>) -> Result<T> {
    path.map(|Path(values)| values).map_err(|_| {
        BedsError::new(ErrorKind::MalformedBody, "the path holds bytes that are not UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_duration_within_the_limit() {
        let longest = Duration::from_secs(60);
        assert_eq!(patience("5", longest).unwrap(), Duration::from_secs(5));
        assert_eq!(patience("250ms", longest).unwrap(), Duration::from_millis(250));
        for bad in ["0", "-5s", "61s", "soon", "", "99999999999999999999"] {
            assert_eq!(patience(bad, longest).unwrap_err().code(), "BEDS-0019", "{bad}");
        }
    }

    #[test]
    fn an_argument_stands_once() {
        let fields = query(&"/x?a=1&b=%C3%A9".parse().unwrap()).unwrap();
        assert_eq!(fields["b"], "é");
        assert!(query(&"/x?a=1&a=2".parse().unwrap()).is_err());
        assert!(query(&"/x?a=%ff".parse().unwrap()).unwrap_err().message.contains("UTF-8"));
        assert_eq!(query(&"/x?a=100%".parse().unwrap()).unwrap()["a"], "100%");
    }
}
