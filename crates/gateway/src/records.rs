//! The record routes: each becomes one call of `NamasteCore` on the other side of the queue.
//!
//! Not here: the parts of a request (request.rs).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Http};
use beds_core::template::AuditPolicy;
use beds_core::ticket::Ticket;
use beds_core::{
    BedsError, ErrorKind, EventId, Fields, NamasteCore, Operation, Payload, Query, Result, Select,
};
use beds_transport::{Asked, Context, RemoteTemplate};

use crate::bodies::{Answered, answered, many, shown};
use crate::caller::Caller;
use crate::limits::InFlight;
use crate::problem::{ProblemDocument, with_event_id};
use crate::refusals::report_refused;
use crate::request::{Params, path_of};
use crate::tickets::prefer::Prefer;
use crate::tickets::{self, result};
use crate::{Room, RoomState, limits, request};

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

/// Reads a request, sends it, and turns its outcome into HTTP, with the event id on every answer.
async fn answer(
    room: &Room,
    request: Request,
    operation: Operation,
    wanted: Result<Wanted>,
    read: impl AsyncFnOnce(Request) -> Result<What>,
) -> Http {
    let measured = room.meters.begin(request.method());
    // Without a node that takes tickets, the wish is ignored, as the standard lets it.
    let prefer = Prefer::of(request.headers()).filter(|_| room.lent.client.takes_tickets());
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
        Ok((place, template, what)) => match prefer {
            Some(prefer) => {
                let _place = place;
                let asked = asked_of(template, operation, what);
                with_ticket(room, asked, context, &caller, prefer).await
            }
            None => {
                let core = room.lent.client.open(&template, context);
                carry_out(room, operation, place, template, core, what).await.map(shown)
            }
        },
        Err(error) => {
            let names = (template.as_deref(), id.as_deref());
            report_refused(room, &context, operation, names, &error);
            Err(error)
        }
    };
    let response = match answered {
        Ok(response) => with_event_id(response, &event_id),
        Err(error) => {
            log(room, &event_id, template.as_deref(), operation, &error);
            ProblemDocument::new(error, event_id).into_response()
        }
    };
    measured.end(response.status());
    response
}

/// Sends a request. A write goes on without its caller, and keeps its place until then.
async fn carry_out(
    room: &Room,
    operation: Operation,
    place: InFlight,
    template: String,
    core: RemoteTemplate,
    what: What,
) -> Result<Answered> {
    let work = async move {
        let _place = place;
        send(core, &template, what).await
    };
    match operation.is_write() {
        true => room.tasks.spawn(work).await.unwrap_or_else(|_| Err(panicked())),
        false => work.await,
    }
}

/// The work of a request, for a ticket.
fn asked_of(template: String, operation: Operation, what: What) -> Asked {
    let asked =
        Asked { template, operation, job: None, fetch: None, id: None, params: Fields::new() };
    match what {
        What::Create(payload) => Asked { params: payload.fields, ..asked },
        What::Update(payload) => Asked { id: payload.id, params: payload.fields, ..asked },
        What::Delete(id) => Asked { id: Some(id), ..asked },
        What::One(query) | What::Many(query) => match query.select {
            Select::ById(id) => Asked { id: Some(id), params: query.params, ..asked },
            Select::Named(name) => Asked { fetch: Some(name), params: query.params, ..asked },
            Select::List => Asked { params: query.params, ..asked },
        },
    }
}

/// The answer of the work, if it has ended in time. Whatever goes wrong meanwhile, the ticket stands.
async fn answered_in_time(
    room: &Room,
    ticket: &Ticket,
    context: Context,
    caller: &Caller,
    wait: Duration,
) -> Result<Option<Http>> {
    let look = tickets::Look::with_result(room, context.clone(), &ticket.id);
    let ended = match tickets::ended(room, &ticket.id, look, wait).await {
        Ok(ended) if !ended.state.is_active() => ended,
        Ok(_) | Err(_) => return Ok(None),
    };
    // The work has failed: that is its answer.
    if let Some(error) = ended.without_result() {
        return Err(error);
    }
    let opened = result::pieces(room, context);
    let (part, headers) = (result::Part::WHOLE, HeaderMap::new());
    Ok(result::answer(room, &ended, opened, caller, part, &headers).await.ok())
}

/// Asks for a ticket, and answers with its result where that is there in time.
async fn with_ticket(
    room: &Room,
    asked: Asked,
    context: Context,
    caller: &Caller,
    prefer: Prefer,
) -> Result<Http> {
    let client = &room.lent.client;
    let mut later = client.context(room.config.default_timeout);
    later.actor.clone_from(&context.actor);
    let ticket = client.ticket(asked, context).await?;
    let response = match prefer.wait.is_zero() {
        true => None,
        false => answered_in_time(room, &ticket, later, caller, prefer.wait).await?,
    };
    let mut response = response.unwrap_or_else(|| tickets::accepted(&ticket));
    if let Ok(applied) = HeaderValue::from_str(&prefer.applied()) {
        response.headers_mut().insert("Preference-Applied", applied);
    }
    Ok(response)
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
    Ok(answered(template, response, status))
}
