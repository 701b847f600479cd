//! The record routes: each becomes one call of `NamasteCore` on the other side of the queue.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Http};
use beds_core::{
    BedsError, Beside, ErrorKind, EventId, NamasteCore, Operation, Payload, Query, Response, Result, Select,
};
use beds_transport::Opened;

use crate::problem::{Problem, with_event_id};
use crate::{Room, limits, request};

type RoomState = State<Arc<Room>>;
type Params<T> = std::result::Result<Path<T>, axum::extract::rejection::PathRejection>;

pub(crate) async fn create(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    answer(&room, request, async |context, request| {
        let template = path_of(path)?;
        let core = open(&room, &template, Operation::Create, None, context)?;
        let payload = Payload { fields: request::fields(&room, request).await?, ..Payload::default() };
        let response = core.create_record(&payload).await?;
        let location = response.id.as_ref().map(|id| format!("/v1/records/{template}/{}", encode(id)));
        Ok((StatusCode::CREATED, location, one(response)))
    })
    .await
}

pub(crate) async fn fetch(State(room): RoomState, path: Params<(String, String)>, request: Request) -> Http {
    answer(&room, request, async |context, request| {
        let (template, id) = path_of(path)?;
        let core = open(&room, &template, Operation::Fetch, None, context)?;
        let query = Query { select: Select::ById(id), params: request::query(request.uri())? };
        let response = core.fetch_records(&query).await?.into_iter().next().unwrap_or_default();
        Ok((StatusCode::OK, None, one(response)))
    })
    .await
}

pub(crate) async fn list(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    answer(&room, request, async |context, request| {
        let template = path_of(path)?;
        let core = open(&room, &template, Operation::List, None, context)?;
        let query = Query { select: Select::List, params: request::query(request.uri())? };
        Ok((StatusCode::OK, None, many(core.fetch_records(&query).await?)))
    })
    .await
}

pub(crate) async fn named(State(room): RoomState, path: Params<(String, String)>, request: Request) -> Http {
    answer(&room, request, async |context, request| {
        let (template, name) = path_of(path)?;
        let core = open(&room, &template, Operation::Fetch, Some(&name), context)?;
        let query = Query { select: Select::Named(name), params: request::query(request.uri())? };
        Ok((StatusCode::OK, None, many(core.fetch_records(&query).await?)))
    })
    .await
}

pub(crate) async fn update(State(room): RoomState, path: Params<(String, String)>, request: Request) -> Http {
    answer(&room, request, async |context, request| {
        let (template, id) = path_of(path)?;
        let core = open(&room, &template, Operation::Update, None, context)?;
        let payload = Payload { id: Some(id), fields: request::fields(&room, request).await?, is_text: false };
        Ok((StatusCode::OK, None, one(core.update_record(&payload).await?)))
    })
    .await
}

pub(crate) async fn delete(State(room): RoomState, path: Params<(String, String)>, request: Request) -> Http {
    answer(&room, request, async |context, _| {
        let (template, id) = path_of(path)?;
        let core = open(&room, &template, Operation::Delete, None, context)?;
        Ok((StatusCode::OK, None, one(core.delete_record(&id).await?)))
    })
    .await
}

/// Status, `Location`, and the body as JSON.
type Answered = (StatusCode, Option<String>, String);

/// Runs a handler with the request's context and turns its outcome into HTTP, with the event id on every answer.
async fn answer(
    room: &Room,
    request: Request,
    handle: impl AsyncFnOnce(beds_transport::Context, Request) -> Result<Answered>,
) -> Http {
    let measured = room.meters.begin(request.method());
    let (context, headers_read) = request::context(room, &request);
    let event_id = context.event_id.clone();
    let handled = async {
        let _permit = limits::in_flight(room)?;
        headers_read?;
        handle(context, request).await
    };
    let response = match handled.await {
        Ok((status, location, body)) => success(status, location, body, &event_id),
        Err(error) => Problem::new(error, event_id).into_response(),
    };
    measured.end(response.status());
    response
}

fn success(status: StatusCode, location: Option<String>, body: String, event_id: &EventId) -> Http {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(LOCATION, location);
    }
    with_event_id(response, event_id)
}

fn open(
    room: &Room,
    template: &str,
    operation: Operation,
    object: Option<&str>,
    context: beds_transport::Context,
) -> Result<Opened> {
    let catalogue = room.lent.catalogue.load();
    let found = catalogue.offering(template, operation, object)?;
    Ok(room.lent.client.open(found.store, template, context))
}

fn path_of<T>(path: Params<T>) -> Result<T> {
    path.map(|Path(values)| values)
        .map_err(|_| BedsError::new(ErrorKind::MalformedBody, "the path holds something that is not UTF-8"))
}

/// One record is the body itself, unless something came back beside it.
fn one(response: Response) -> String {
    let record = response.record.as_ref().map_or("null", |record| record.get());
    match &response.beside {
        None => record.to_owned(),
        Some(beside) => format!("{{\"record\":{record}{}}}", beside_text(beside)),
    }
}

fn many(responses: Vec<Response>) -> String {
    let next = responses.last().and_then(|last| last.next.clone());
    let beside = responses.first().and_then(|first| first.beside.as_deref()).map(beside_text).unwrap_or_default();
    let size: usize = responses.iter().filter_map(|r| r.record.as_ref()).map(|record| record.get().len() + 1).sum();
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
    body.push_str(&beside);
    body.push('}');
    body
}

fn beside_text(beside: &Beside) -> String {
    let sets: Vec<&str> = beside.result_sets.iter().map(|set| set.get()).collect();
    let out = beside.out.as_ref().map_or("null", |out| out.get());
    format!(",\"result_sets\":[{}],\"out\":{out}", sets.join(","))
}

/// Percent-encodes what cannot stand in a path segment.
fn encode(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
