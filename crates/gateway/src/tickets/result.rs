//! The result of a ticket: read piece by piece and handed on as it comes, no faster than the caller takes it.
//!
//! Not here: the pieces in their store (broker/src/calgon/sink.rs).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response as Http};
use beds_core::reply::Answer;
use beds_core::ticket::{ResultForm, ResultNote, Ticket};
use beds_core::{
    Actor, BedsError, ErrorKind, Fields, NamasteCore, Operation, Query, Result, Rights, Select,
    TICKET_RESULTS,
};
use beds_transport::{Context, RemoteTemplate};
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::{once, try_unfold};
use serde::Deserialize;

use super::{Look, answered, ended, id, number, wait};
use crate::caller::Caller;
use crate::request::Params;
use crate::{Room, RoomState, bodies, request};

const NDJSON: &str = "application/x-ndjson";

/// `?after=&limit=`: rows. `?wait=20` beside them waits for the end of the ticket first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    after: i64,
    limit: Option<i64>,
}

impl Part {
    pub(crate) const WHOLE: Part = Part { after: 0, limit: None };

    fn of(fields: &Fields) -> Result<Self> {
        let number =
            |name| number(fields, name).map(|n| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
        Ok(Self { after: number("after")?.unwrap_or(0), limit: number("limit")? })
    }
}

pub(crate) async fn show(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    let caller = Caller::of(&request);
    let headers = request.headers().clone();
    let read = async |_: &Room, request: Request| {
        let asked = request::query(request.uri())?;
        Ok((id(path)?, Part::of(&asked)?, wait(&asked)?))
    };
    answered(&room, request, Operation::Fetch, read, async |room, (id, part, wait), context| {
        let look = Look::with_result(room, context.clone(), &id);
        let ticket = ended(room, &id, look, wait).await?;
        answer(room, &ticket, pieces(room, context), &caller, part, &headers).await
    })
    .await
}

/// The pieces of the caller's results, which it cannot read itself: the rights on the work are looked at here.
pub(crate) fn pieces(room: &Room, mut context: Context) -> RemoteTemplate {
    context.actor = Arc::new(Actor::clone(&context.actor).with_every_right());
    room.lent.client.open(TICKET_RESULTS, context)
}

/// The result as an answer.
pub(crate) async fn answer(
    room: &Room,
    ticket: &Ticket,
    opened: RemoteTemplate,
    caller: &Caller,
    part: Part,
    headers: &HeaderMap,
) -> Result<Http> {
    if let Some(error) = ticket.without_result() {
        return Err(error);
    }
    let unread = || BedsError::new(ErrorKind::Internal, "the ticket has no note of its result");
    let note = ticket.result.as_ref().ok_or_else(unread)?;
    check_mask(room, ticket, note, caller)?;
    let etag = format!("\"{}\"", note.sha256);
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response());
    }
    let mut response = match note.form {
        ResultForm::Rows => rows(ticket, note, opened, part, is_ndjson(headers)).await?,
        ResultForm::Record | ResultForm::Page => body(ticket, note, opened).await?,
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    Ok(response)
}

/// An error where the caller may read less by now than was kept for it.
fn check_mask(room: &Room, ticket: &Ticket, note: &ResultNote, caller: &Caller) -> Result<()> {
    let templates = room.lent.templates.load();
    let template = templates.known(&ticket.template, caller.judged())?;
    let Some(actor) = caller.judged() else { return Ok(()) };
    let (operation, name) = (ticket.operation, ticket.name());
    template.access.check(actor, operation, &ticket.template, name)?;
    let rights = Rights::given_by(template);
    let hidden = rights.hidden(actor, operation, name);
    match hidden.iter().find(|field| !note.hidden.iter().any(|kept| kept == *field)) {
        None => Ok(()),
        Some(_) => {
            let text = "the caller may read fewer fields now than when the result was made; ask for the work again";
            Err(BedsError::new(ErrorKind::NotAllowed, text))
        }
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains(NDJSON)))
}

/// The answer of the request that the ticket stands for, as it would have come at once.
async fn body(ticket: &Ticket, note: &ResultNote, opened: RemoteTemplate) -> Result<Http> {
    let piece = Reading::new(ticket, note, opened, 0, 1).piece().await?.ok_or_else(gone)?;
    let answer: Answer = serde_json::from_str(piece.text.trim_end()).map_err(|error| {
        BedsError::new(ErrorKind::Internal, "the result could not be read").with_source(error)
    })?;
    Ok(bodies::of_answer(&ticket.template, ticket.operation, note.form == ResultForm::Page, answer))
}

/// The rows of a job.
async fn rows(
    ticket: &Ticket,
    note: &ResultNote,
    opened: RemoteTemplate,
    part: Part,
    is_ndjson: bool,
) -> Result<Http> {
    let after = part.after;
    let end =
        part.limit.map_or(note.rows, |limit| note.rows.min(after.saturating_add(limit.max(0))));
    let mut reading = Reading::new(ticket, note, opened, after, end);
    // The first piece is awaited: where it cannot be read, the answer is an error and no broken body.
    let first = if after < end { reading.next(is_ndjson).await? } else { None };
    let next = (end < note.rows).then_some(end);
    let (open, close) = match is_ndjson {
        true => (String::new(), String::new()),
        false => {
            let next = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
            (
                "{\"records\":[".to_owned(),
                format!("],\"next\":{next},\"more\":{}}}", end < note.rows),
            )
        }
    };
    let begin = open + &first.unwrap_or_default();
    let body = match reading.is_at_end() {
        true => Body::from(begin + &close),
        false => streamed(begin, reading, is_ndjson, close),
    };
    let kind = if is_ndjson { NDJSON } else { "application/json" };
    let kind = HeaderValue::from_static(kind);
    let mut response = ([(CONTENT_TYPE, kind)], body).into_response();
    response.headers_mut().insert("Beds-Rows", note.rows.into());
    // A cache keeps the two forms apart.
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Authorization"));
    Ok(response)
}

/// The pieces as they are read. An error on the way cuts the connection: a caller must not take a part for the whole.
fn streamed(begin: String, reading: Reading, is_ndjson: bool, close: String) -> Body {
    let read = try_unfold(reading, move |mut reading: Reading| async move {
        let piece = reading.next(is_ndjson).await.map_err(std::io::Error::other)?;
        std::io::Result::Ok(piece.map(|piece| (piece, reading)))
    });
    let part = |text: String| once(ready(std::io::Result::Ok(text)));
    Body::from_stream(Box::pin(part(begin).chain(read).chain(part(close))))
}

/// A read of the rows from a place to an end.
struct Reading {
    ticket: String,
    epoch: i64,
    /// A small result as a whole.
    text: Option<String>,
    rows: i64,
    opened: RemoteTemplate,
    from: i64,
    end: i64,
    is_begun: bool,
}

/// A piece as it is kept.
#[derive(Deserialize)]
struct Piece {
    first: i64,
    rows: i64,
    text: String,
}

impl Reading {
    fn new(
        ticket: &Ticket,
        note: &ResultNote,
        opened: RemoteTemplate,
        from: i64,
        end: i64,
    ) -> Self {
        Self {
            ticket: ticket.id.clone(),
            epoch: note.epoch,
            text: note.text.clone(),
            rows: note.rows,
            opened,
            from,
            end,
            is_begun: false,
        }
    }

    /// The piece in which the next row stands.
    async fn piece(&mut self) -> Result<Option<Piece>> {
        if let Some(text) = self.text.take() {
            return Ok(Some(Piece { first: 0, rows: self.rows, text }));
        }
        let mut params = Fields::new();
        params.insert("ticket".into(), self.ticket.as_str().into());
        params.insert("epoch".into(), self.epoch.into());
        params.insert("from".into(), self.from.into());
        let query = Query { select: Select::Named("pieces".to_owned()), params };
        let found = self.opened.fetch_records(&query).await?;
        let Some(record) = found.into_iter().next().and_then(|response| response.record) else {
            return Ok(None);
        };
        serde_json::from_str(record.get()).map(Some).map_err(|error| {
            BedsError::new(ErrorKind::Internal, "the result could not be read").with_source(error)
        })
    }

    fn is_at_end(&self) -> bool {
        self.from >= self.end
    }

    /// The rows of the next piece as text; none behind the end.
    async fn next(&mut self, is_ndjson: bool) -> Result<Option<String>> {
        if self.is_at_end() {
            return Ok(None);
        }
        // A piece that is not there was removed meanwhile.
        let piece = self.piece().await?;
        let piece =
            piece.filter(|piece| (piece.first..piece.first + piece.rows).contains(&self.from));
        let Piece { first, rows, text } = piece.ok_or_else(gone)?;
        let skipped = usize::try_from(self.from - first).unwrap_or(0);
        let wanted = usize::try_from(self.end - self.from).unwrap_or(usize::MAX);
        let mut out = String::with_capacity(text.len());
        for line in text.lines().skip(skipped).take(wanted) {
            match (is_ndjson, self.is_begun) {
                (true, _) => {}
                (false, false) => self.is_begun = true,
                (false, true) => out.push(','),
            }
            out.push_str(line);
            if is_ndjson {
                out.push('\n');
            }
        }
        self.from = (first + rows).min(self.end);
        Ok(Some(out))
    }
}

fn gone() -> BedsError {
    BedsError::new(
        ErrorKind::ResultGone,
        "the result was removed meanwhile; ask for the work again",
    )
}
