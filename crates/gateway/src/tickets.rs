//! The routes of tickets: work that takes long is asked for, looked at, waited for and cancelled.
//!
//! Not here: results (tickets/result.rs), the header `Prefer` (tickets/prefer.rs), the work (crate broker).

pub(crate) mod prefer;
pub(crate) mod result;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Http};
use beds_core::ticket::{Ticket, TicketState, no_such_ticket};
use beds_core::{
    BedsError, ErrorKind, Fields, NamasteCore, Operation, Query, Result, Select, TICKET_RESULTS,
    TICKETS,
};
use beds_transport::{Asked, Context, RemoteTemplate};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::problem::{ProblemDocument, with_event_id};
use crate::refusals::report_refused;
use crate::request::{Params, path_of};
use crate::{Room, RoomState, limits, request};

/// The longest that a request waits for the end of a ticket.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Word of a ticket can get lost; it is looked at so often all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(crate) async fn list(State(room): RoomState, request: Request) -> Http {
    let read = async |_: &Room, request: Request| {
        let mut params = request::query(request.uri())?;
        if let Some(state) = params.remove("state") {
            params.insert("states".into(), states(state.as_str().unwrap_or_default())?);
        }
        Ok(Query { select: Select::List, params })
    };
    answered(&room, request, Operation::List, read, async |room, query, context| {
        let found = room.lent.client.open(TICKETS, context).fetch_records(&query).await?;
        let is_cut = found.last().is_some_and(|last| last.more);
        let read = found.into_iter().filter_map(|response| response.record);
        let tickets: Vec<Ticket> = read
            .map(|record| serde_json::from_str(record.get()))
            .collect::<std::result::Result<_, _>>()
            .map_err(unread)?;
        let shown: Vec<_> = tickets.iter().map(Ticket::shown).collect();
        // The place of a ticket, because its id is no order.
        let next = tickets.last().filter(|_| is_cut).map(|ticket| &ticket.order);
        Ok(json(StatusCode::OK, &json!({"tickets": shown, "next": next})))
    })
    .await
}

/// `?wait=20`: seconds.
pub(crate) async fn show(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    let read =
        async |_: &Room, request: Request| Ok((id(path)?, wait(&request::query(request.uri())?)?));
    answered(&room, request, Operation::Fetch, read, async |room, (id, wait), context| {
        let ticket = ended(room, &id, Look::at_ticket(room, context, &id), wait).await?;
        Ok(shown(StatusCode::OK, &ticket))
    })
    .await
}

pub(crate) async fn cancel(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    changed(&room, path, request, TICKETS, |ticket| {
        // The one that works on it learns it at once.
        room.lent.client.tell(&Ticket::notice(&ticket.id));
        Ok(match ticket.state {
            TicketState::Cancelling => StatusCode::ACCEPTED,
            _ => StatusCode::OK,
        })
    })
    .await
}

pub(crate) async fn drop_result(
    State(room): RoomState,
    path: Params<String>,
    request: Request,
) -> Http {
    changed(&room, path, request, TICKET_RESULTS, |ticket| {
        if ticket.state.is_active() {
            let text = "the ticket has not ended; cancel it first";
            return Err(BedsError::new(ErrorKind::ResultNotReady, text));
        }
        Ok(StatusCode::OK)
    })
    .await
}

/// Changes a ticket through the template, and shows it with the status for it.
async fn changed(
    room: &Room,
    path: Params<String>,
    request: Request,
    template: &str,
    status: impl Fn(&Ticket) -> Result<StatusCode>,
) -> Http {
    answered(
        room,
        request,
        Operation::Delete,
        async |_, _| id(path),
        async |room, id, context| {
            let ticket = change(room, context, template, id).await?;
            Ok(shown(status(&ticket)?, &ticket))
        },
    )
    .await
}

pub(crate) async fn submit(
    State(room): RoomState,
    path: Params<(String, String)>,
    request: Request,
) -> Http {
    let caller = Caller::of(&request);
    let read = async |room: &Room, request: Request| {
        let (template, job) = path_of(path)?;
        let templates = room.lent.templates.load_full();
        templates.offering(&template, Operation::Job, Some(&job), caller.judged())?;
        request::check_write(&request)?;
        let params = request::fields(room, request).await?;
        let (operation, job) = (Operation::Job, Some(job));
        Ok(Asked { template, operation, job, fetch: None, id: None, params })
    };
    answered(&room, request, Operation::Job, read, async |room, asked, context| {
        Ok(accepted(&room.lent.client.ticket(asked, context).await?))
    })
    .await
}

/// The answer that work was taken, and where to look for it.
pub(crate) fn accepted(ticket: &Ticket) -> Http {
    let mut response = shown(StatusCode::ACCEPTED, ticket);
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/tickets/{}", ticket.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// The ticket, as soon as it has ended, or after `wait`.
pub(crate) async fn ended(room: &Room, id: &str, look: Look, wait: Duration) -> Result<Ticket> {
    let until = Instant::now() + wait;
    loop {
        // Begins to listen before it looks: word of an end in between is not missed.
        let watched = room.lent.client.watch(&Ticket::notice(id));
        let ticket = look.read().await?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || !ticket.state.is_active() || limits::is_open(room).is_err() {
            return Ok(ticket);
        }
        drop(tokio::time::timeout(left.min(LOOK_AGAIN), watched.given_up()).await);
    }
}

/// A look at a ticket of the caller's.
pub(crate) struct Look {
    opened: RemoteTemplate,
    query: Query,
}

impl Look {
    /// As its owner sees it.
    pub(crate) fn at_ticket(room: &Room, context: Context, id: &str) -> Self {
        let query = Query { select: Select::ById(id.to_owned()), params: Fields::new() };
        Self { opened: room.lent.client.open(TICKETS, context), query }
    }

    /// With the lines of a small result, which the caller cannot read itself: the rights on the work are looked at behind it.
    pub(crate) fn with_result(room: &Room, context: Context, id: &str) -> Self {
        let params = Fields::from_iter([("ticket".to_owned(), id.into())]);
        let query = Query { select: Select::Named("with-ticket".to_owned()), params };
        Self { opened: result::pieces(room, context), query }
    }

    pub(crate) async fn read(&self) -> Result<Ticket> {
        let found =
            self.opened.fetch_records(&self.query).await.map_err(|error| match error.kind {
                ErrorKind::NoSuchRecord => no_such_ticket(),
                _ => error,
            })?;
        let record = found.into_iter().next().and_then(|response| response.record);
        let record = record.ok_or_else(no_such_ticket)?;
        serde_json::from_str(record.get()).map_err(unread)
    }
}

/// True for a text that can be the id of a ticket.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// The id of a ticket in a path. Another text is no ticket's.
pub(crate) fn id(path: Params<String>) -> Result<String> {
    let id = path_of(path)?;
    if is_id(&id) { Ok(id.to_ascii_lowercase()) } else { Err(no_such_ticket()) }
}

/// Reads a request, does it with a place among the others, and answers with its event id.
pub(crate) async fn answered<T>(
    room: &Room,
    request: Request,
    operation: Operation,
    read: impl AsyncFnOnce(&Room, Request) -> Result<T>,
    work: impl AsyncFnOnce(&Room, T, Context) -> Result<Http>,
) -> Http {
    let measured = room.meters.begin(request.method());
    let (context, headers_read) = request::context(room, &request);
    let event_id = context.event_id.clone();
    let caller = Caller::of(&request);
    let template = match operation {
        Operation::Job => request::template(room, request.uri(), &caller),
        _ => Some(TICKETS.to_owned()),
    };
    let asked = async {
        limits::is_open(room)?;
        headers_read?;
        let share = limits::share(room, &caller)?;
        let asked = read(room, request).await?;
        // A caller that is slow to send takes no place from the others.
        Ok((limits::in_flight(room, share)?, asked))
    };
    let done = match asked.await {
        Ok((_place, asked)) => work(room, asked, context).await,
        Err(error) => {
            report_refused(room, &context, operation, (template.as_deref(), None), &error);
            Err(error)
        }
    };
    let response = match done {
        Ok(response) => with_event_id(response, &event_id),
        Err(error) => ProblemDocument::new(error, event_id).into_response(),
    };
    measured.end(response.status());
    response
}

/// `?wait=20`: seconds to wait for the end of a ticket.
pub(crate) fn wait(fields: &Fields) -> Result<Duration> {
    let seconds = number(fields, "wait")?.unwrap_or(0);
    Ok(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// A whole number among the arguments of a URL.
pub(crate) fn number(fields: &Fields, name: &str) -> Result<Option<u64>> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let number = value.as_str().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        let text = format!("`{name}` is a whole number");
        BedsError::new(ErrorKind::WrongType, text).with_field(name)
    })
}

async fn change(room: &Room, context: Context, template: &str, id: String) -> Result<Ticket> {
    let asked = Asked {
        template: template.to_owned(),
        operation: Operation::Delete,
        job: None,
        fetch: None,
        id: Some(id),
        params: Fields::new(),
    };
    room.lent.client.ticket(asked, context).await
}

/// The states of a listing, such as `queued,running`.
fn states(text: &str) -> Result<serde_json::Value> {
    TicketState::list(text).map(|states| json!(states)).ok_or_else(|| {
        let all = TicketState::ALL.map(TicketState::as_str).join(", ");
        BedsError::new(ErrorKind::ValueOutOfRange, format!("`state` is one or more of: {all}"))
            .with_field("state")
    })
}

fn shown(status: StatusCode, ticket: &Ticket) -> Http {
    let mut response = json(status, &ticket.shown());
    if ticket.state.is_active() {
        response.headers_mut().insert(RETRY_AFTER, retry_after(ticket).into());
    }
    response
}

/// Seconds until the next look: a tenth of the ticket's age, because work that took long is seldom done a moment later.
fn retry_after(ticket: &Ticket) -> u64 {
    let age = Timestamp::now().duration_since(ticket.created_at).as_secs();
    u64::try_from(age / 10).unwrap_or(0).clamp(1, 30)
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Http {
    match serde_json::to_string(body) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/json");
            (status, [(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => ProblemDocument::from(unread(error)).into_response(),
    }
}

fn unread(error: serde_json::Error) -> BedsError {
    BedsError::new(ErrorKind::Internal, "the ticket could not be read").with_source(error)
}
