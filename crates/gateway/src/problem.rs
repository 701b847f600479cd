//! Errors as RFC 9457 problem documents. The text is written for the caller; sources stay in the log.
//!
//! Not here: kinds and codes of errors (`core::error`).

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use beds_core::{BedsError, ErrorKind, EventId};
use serde::Serialize;

const EVENT_ID: HeaderName = HeaderName::from_static("beds-event-id");

/// An error on its way to an HTTP caller.
pub(crate) struct ProblemDocument {
    error: BedsError,
    event_id: Option<EventId>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a EventId>,
}

impl ProblemDocument {
    pub(crate) fn new(error: BedsError, event_id: EventId) -> Self {
        Self { error, event_id: Some(event_id) }
    }
}

impl From<BedsError> for ProblemDocument {
    fn from(error: BedsError) -> Self {
        Self { error, event_id: None }
    }
}

impl IntoResponse for ProblemDocument {
    fn into_response(self) -> Response {
        let kind = self.error.kind;
        let document = Document {
            r#type: "about:blank",
            title: kind.title(),
            status: kind.status(),
            code: kind.code(),
            detail: &self.error.message,
            field: self.error.field.as_deref(),
            event_id: self.event_id.as_ref(),
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let status =
            StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(kind.status(), 429 | 503) || kind == ErrorKind::KeyInFlight {
            headers.insert(RETRY_AFTER, self.error.retry_after.unwrap_or(1).into());
        }
        match &self.event_id {
            Some(event_id) => with_event_id(response, event_id),
            None => response,
        }
    }
}

/// Puts the id into the header that every answer carries.
pub(crate) fn with_event_id(mut response: Response, event_id: &EventId) -> Response {
    if let Ok(value) = HeaderValue::from_str(&event_id.0) {
        response.headers_mut().insert(EVENT_ID, value);
    }
    response
}
