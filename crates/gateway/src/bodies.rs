//! Answers of record requests as HTTP: status, place and body, whichever way the answer came.
//!
//! Not here: requests (records.rs), errors (problem.rs).

use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Http};
use beds_core::reply::Answer;
use beds_core::{Beside, Operation, Response};

/// A good outcome.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    /// JSON.
    pub(crate) body: String,
    /// An earlier request with the same key had written: this is its answer.
    pub(crate) is_repeat: bool,
}

/// The answer of a request that was worked on with a ticket, as it would have come at once.
pub(crate) fn of_answer(
    template: &str,
    operation: Operation,
    is_page: bool,
    answer: Answer,
) -> Http {
    if is_page {
        let body = many(answer.into_responses());
        return shown(Answered { status: StatusCode::OK, location: None, body, is_repeat: false });
    }
    let status = if operation == Operation::Create { StatusCode::CREATED } else { StatusCode::OK };
    shown(answered(template, answer.into_response(), status))
}

/// The answer of an operation on one record.
pub(crate) fn answered(template: &str, response: Response, status: StatusCode) -> Answered {
    let id = response.id.as_ref().filter(|_| status == StatusCode::CREATED);
    // Every client would take these for steps of the path.
    let id = id.filter(|id| !matches!(id.as_str(), "" | "." | ".."));
    let location = id.map(|id| format!("/v1/records/{template}/{}", encode(id)));
    let is_repeat = response.repeat_of.is_some();
    Answered { status, location, body: one(response), is_repeat }
}

/// The answer as HTTP.
pub(crate) fn shown(answered: Answered) -> Http {
    let mut response = (answered.status, answered.body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(location) =
        answered.location.and_then(|location| HeaderValue::from_str(&location).ok())
    {
        headers.insert(LOCATION, location);
    }
    if answered.is_repeat {
        headers.insert("Idempotent-Replayed", HeaderValue::from_static("true"));
    }
    response
}

/// One record is the body itself; of an operation that answers everything, it is a member beside the rest.
fn one(response: Response) -> String {
    let record = response.record.as_ref().map_or("null", |record| record.get());
    match &response.beside {
        None => record.to_owned(),
        Some(beside) => format!("{{\"record\":{record}{}}}", beside_text(beside)),
    }
}

/// The body of many records.
pub(crate) fn many(responses: Vec<Response>) -> String {
    let next = responses.last().and_then(|last| last.next.clone());
    let is_cut = responses.last().is_some_and(|last| last.more);
    let beside = responses
        .first()
        .and_then(|first| first.beside.as_deref())
        .map(beside_text)
        .unwrap_or_default();
    let size: usize = responses
        .iter()
        .filter_map(|r| r.record.as_ref())
        .map(|record| record.get().len() + 1)
        .sum();
    let mut body = String::with_capacity(size + beside.len() + 64);
    body.push_str("{\"records\":[");
    let records = responses.iter().filter_map(|response| response.record.as_ref());
    for (position, record) in records.enumerate() {
        if position > 0 {
            body.push(',');
        }
        body.push_str(record.get());
    }
    body.push_str("],\"next\":");
    body.push_str(&serde_json::to_string(&next).unwrap_or_default());
    body.push_str(if is_cut { ",\"more\":true" } else { ",\"more\":false" });
    body.push_str(&beside);
    body.push('}');
    body
}

fn beside_text(beside: &Beside) -> String {
    let sets: Vec<&str> = beside.result_sets.iter().map(|set| set.get()).collect();
    let out = beside.out.as_ref().map_or("null", |out| out.get());
    format!(",\"result_sets\":[{}],\"out\":{out}", sets.join(","))
}

/// Percent-encodes the characters that a path segment cannot hold.
fn encode(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
