//! The record routes: each becomes one call of `NamasteCore` on the other side of the queue.
//!
//! Not here: the parts of a request (request.rs).

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Http};
use beds_core::template::AuditPolicy;
use beds_core::{
    BedsError, Beside, ErrorKind, EventId, NamasteCore, Operation, Payload, Query, Response,
    Result, Select,
};
use beds_transport::{Context, Refused, RemoteTemplate};

use crate::caller::Caller;
use crate::problem::{ProblemDocument, with_event_id};
use crate::request::{Params, path_of};
use crate::{Room, RoomState, limits, request};

/// Refusals of one caller and code that have a record each in a minute; beyond them, they are counted.
const RECORDED_EACH: u64 = 100;

pub(crate) async fn create(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    let wanted = path_of(path).map(|template| Wanted { template, named: None, id: None });
    answer(&room, request, Operation::Create, wanted, async |request| {
        Ok(What::Create(Payload {
            fields: request::fields(&room, request).await?,
            ..Payload::default()
        }))
    })
    .await
}

pub(crate) async fn fetch(
    State(room): RoomState,
    path: Params<(String, String)>,
    request: Request,
) -> Http {
    let (wanted, id) = of_one(path);
    answer(&room, request, Operation::Fetch, wanted, async |request| {
        Ok(What::One(Query { select: Select::ById(id), params: request::query(request.uri())? }))
    })
    .await
}

pub(crate) async fn list(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    let wanted = path_of(path).map(|template| Wanted { template, named: None, id: None });
    answer(&room, request, Operation::List, wanted, async |request| {
        Ok(What::Many(Query { select: Select::List, params: request::query(request.uri())? }))
    })
    .await
}

pub(crate) async fn named(
    State(room): RoomState,
    path: Params<(String, String)>,
    request: Request,
) -> Http {
    let wanted =
        path_of(path).map(|(template, name)| Wanted { template, named: Some(name), id: None });
    let name = wanted.as_ref().ok().and_then(|wanted| wanted.named.clone()).unwrap_or_default();
    answer(&room, request, Operation::Fetch, wanted, async |request| {
        Ok(What::Many(Query {
            select: Select::Named(name),
            params: request::query(request.uri())?,
        }))
    })
    .await
}

pub(crate) async fn update(
    State(room): RoomState,
    path: Params<(String, String)>,
    request: Request,
) -> Http {
    let (wanted, id) = of_one(path);
    answer(&room, request, Operation::Update, wanted, async |request| {
        Ok(What::Update(Payload {
            id: Some(id),
            fields: request::fields(&room, request).await?,
            is_text: false,
        }))
    })
    .await
}

pub(crate) async fn delete(
    State(room): RoomState,
    path: Params<(String, String)>,
    request: Request,
) -> Http {
    let (wanted, id) = of_one(path);
    answer(&room, request, Operation::Delete, wanted, async |_| Ok(What::Delete(id))).await
}

/// The names in the path of a request.
struct Wanted {
    template: String,
    /// The named fetch.
    named: Option<String>,
    /// The record.
    id: Option<String>,
}

/// A path with a record's id.
fn of_one(path: Params<(String, String)>) -> (Result<Wanted>, String) {
    match path_of(path) {
        Ok((template, id)) => (Ok(Wanted { template, named: None, id: Some(id.clone()) }), id),
        Err(error) => (Err(error), String::new()),
    }
}

/// A request after it was read. Nothing was sent yet.
enum What {
    Create(Payload),
    One(Query),
    Many(Query),
    Update(Payload),
    Delete(String),
}

/// A good outcome.
struct Answered {
    status: StatusCode,
    location: Option<String>,
    /// JSON.
    body: String,
    /// An earlier request with the same key had written: this is its answer.
    is_repeat: bool,
}

/// Reads a request, sends it, and turns its outcome into HTTP, with the event id on every answer.
async fn answer(
    room: &Room,
    request: Request,
    operation: Operation,
    wanted: Result<Wanted>,
    read: impl AsyncFnOnce(Request) -> Result<What>,
) -> Http {
    let measured = room.meters.begin(request.method());
    let (context, headers_read) = request::context(room, &request);
    let event_id = context.event_id.clone();
    let caller = Caller::of(&request);
    let template = request::template(room, request.uri(), &caller);
    let id = wanted.as_ref().ok().and_then(|wanted| wanted.id.clone());
    let asked = async {
        limits::is_open(room)?;
        headers_read?;
        let wanted = wanted?;
        // Comes before the body: where the template is not there, no body is waited for.
        check_offered(room, operation, &wanted, &caller)?;
        if operation.is_write() {
            request::check_write(&request)?;
        }
        let share = limits::share(room, &caller)?;
        let what = read(request).await?;
        // A caller that is slow to send takes no place from the others.
        let place = limits::in_flight(room, share)?;
        Ok((place, wanted.template, what))
    };
    let answered = match asked.await {
        Ok((place, template, what)) => {
            let core = room.lent.client.open(&template, context);
            let work = async move {
                let _place = place;
                send(core, &template, what).await
            };
            match operation.is_write() {
                // Goes on without its caller, and keeps its place until then.
                true => room.tasks.spawn(work).await.unwrap_or_else(|_| Err(panicked())),
                false => work.await,
            }
        }
        Err(error) => {
            let names = (template.as_deref(), id.as_deref());
            report_refused(room, &context, operation, names, &error);
            Err(error)
        }
    };
    let response = match answered {
        Ok(answered) => success(answered, &event_id),
        Err(error) => {
            log(room, &event_id, template.as_deref(), operation, &error);
            ProblemDocument::new(error, event_id).into_response()
        }
    };
    measured.end(response.status());
    response
}

/// Reports a request that no other part reports. A caller decides how often it is refused, and must not decide how many records of
/// others find room.
fn report_refused(
    room: &Room,
    context: &Context,
    operation: Operation,
    (template, id): (Option<&str>, Option<&str>),
    error: &BedsError,
) {
    let cause = format!("{} {}", context.actor.subject, error.code());
    if let Some(unrecorded) = room.refusals.say_first(RECORDED_EACH, &cause) {
        let refused = Refused { template, operation, id, unrecorded };
        room.lent.client.refused(context, &refused, error);
    }
}

fn panicked() -> BedsError {
    BedsError::new(ErrorKind::Internal, "the request could not be answered")
}

/// Failures that the caller can do nothing about, each cause once a minute.
fn log(
    room: &Room,
    event_id: &EventId,
    template: Option<&str>,
    operation: Operation,
    error: &BedsError,
) {
    let (id, template, code) = (&event_id.0, template.unwrap_or_default(), error.code());
    if error.kind.status() < 500 {
        return;
    }
    if let Some(before) = room.complaints.say(&format!("{template} {operation} {code}")) {
        let (operation, detail) = (operation.as_str(), error.kind.title());
        tracing::warn!(
            event.id = id,
            template,
            operation,
            code,
            detail,
            before,
            "A request failed."
        );
    }
}

/// An error unless the template offers the operation to the caller, and the work can be recorded where it must be.
fn check_offered(
    room: &Room,
    operation: Operation,
    wanted: &Wanted,
    caller: &Caller,
) -> Result<()> {
    let templates = room.lent.templates.load();
    let named = wanted.named.as_deref();
    let template = templates.offering(&wanted.template, operation, named, caller.judged())?;
    if template.audit == AuditPolicy::Required && !room.lent.client.reports().can_audit() {
        // Where records cannot be queued, workers soon take no message any more: better said at once.
        let text = "not executed: work with this template must be recorded, and no record can be queued now";
        return Err(BedsError::new(ErrorKind::Unavailable, text));
    }
    Ok(())
}

async fn send(core: RemoteTemplate, template: &str, what: What) -> Result<Answered> {
    let (response, status) = match what {
        What::Many(query) => {
            let body = many(core.fetch_records(&query).await?);
            return Ok(Answered { status: StatusCode::OK, location: None, body, is_repeat: false });
        }
        What::Create(payload) => (core.create_record(&payload).await?, StatusCode::CREATED),
        What::One(query) => (
            core.fetch_records(&query).await?.into_iter().next().unwrap_or_default(),
            StatusCode::OK,
        ),
        What::Update(payload) => (core.update_record(&payload).await?, StatusCode::OK),
        What::Delete(id) => (core.delete_record(&id).await?, StatusCode::OK),
    };
    let id = response.id.as_ref().filter(|_| status == StatusCode::CREATED);
    // Every client would take these for steps of the path.
    let id = id.filter(|id| !matches!(id.as_str(), "" | "." | ".."));
    let location = id.map(|id| format!("/v1/records/{template}/{}", encode(id)));
    let is_repeat = response.repeat_of.is_some();
    Ok(Answered { status, location, body: one(response), is_repeat })
}

fn success(answered: Answered, event_id: &EventId) -> Http {
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
    with_event_id(response, event_id)
}

/// One record is the body itself; of an operation that answers everything, it is a member beside the rest.
fn one(response: Response) -> String {
    let record = response.record.as_ref().map_or("null", |record| record.get());
    match &response.beside {
        None => record.to_owned(),
        Some(beside) => format!("{{\"record\":{record}{}}}", beside_text(beside)),
    }
}

fn many(responses: Vec<Response>) -> String {
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
