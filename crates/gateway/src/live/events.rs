//! Server-sent events: `GET /v1/changes` and `GET /v1/tickets/{id}/events`. Each event has a name, and those of changes an id, which is
//! the cursor: a browser sends it again as `Last-Event-ID` when it comes back by itself.
//!
//! Not here: the changes (subscription.rs), tickets (../tickets.rs).

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response as Http};
use beds_core::access::has_one;
use beds_core::text::quote;
use beds_core::{BedsError, ErrorKind, Operation, Result, TICKETS};
use futures_util::stream::{self, Stream};
use serde_json::json;

use super::cursor::Cursor;
use super::hub::{Ending, Frame, Proof, Topic};
use super::replay::gone;
use super::subscription::{Next, Subscription};
use super::ticket::WatchedTicket;
use super::{LivePlace, place};
use crate::caller::{Caller, KeptProof};
use crate::problem::{ProblemDocument, with_event_id};
use crate::refusals::report_refused;
use crate::request::{self, Params};
use crate::tickets;
use crate::{Room, RoomState};

/// A line without meaning is sent so often: a proxy between closes a connection that is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Callers of a node that stops come back within that time, each at another moment.
const SPREAD_MILLIS: u64 = 5_000;
/// A proxy must pass events on as they come.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

pub(crate) async fn changes(State(room): RoomState, request: Request) -> Http {
    let (context, _) = request::context(&room, &request);
    let caller = Caller::of(&request);
    let named = request::query(request.uri()).ok();
    let named = named.and_then(|fields| Some(fields.get("template")?.as_str()?.to_owned()));
    // Nothing of the request is held while it waits.
    let asked = asked(&room, &request, &caller);
    drop(request);
    let begun = async {
        let AskedChanges { topic, after, proof, place } = asked?;
        let (caller, source) = ((Arc::clone(&caller.actor), proof), room.live.source.clone());
        let (subscription, cursor) = Subscription::begin(source, topic, caller, after).await?;
        Ok((subscription, cursor, place))
    };
    match begun.await {
        Ok((subscription, cursor, place)) => {
            with_event_id(told(subscription, cursor, place), &context.event_id)
        }
        Err(error) => {
            let templates = room.lent.templates.load();
            let known = named.filter(|name| templates.known(name, caller.judged()).is_ok());
            report_refused(&room, &context, Operation::List, (known.as_deref(), None), &error);
            ProblemDocument::new(error, context.event_id).into_response()
        }
    }
}

/// A request for changes that may be served.
struct AskedChanges {
    topic: Topic,
    after: Option<Cursor>,
    proof: Arc<dyn Proof>,
    place: LivePlace,
}

fn asked(room: &Arc<Room>, request: &Request, caller: &Caller) -> Result<AskedChanges> {
    let mut fields = request::query(request.uri())?;
    let mut text =
        |name: &str| fields.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    let (template, id, after) = (text("template"), text("id"), text("after"));
    if let Some(unknown) = fields.keys().next() {
        let text =
            format!("there is no argument {}; it takes: template, id, after", quote(unknown));
        return Err(BedsError::new(ErrorKind::UnknownField, text));
    }
    let template = template.ok_or_else(|| {
        let text = "`template` is missing: /v1/changes?template=Flights";
        BedsError::new(ErrorKind::MissingParameter, text).with_field("template")
    })?;
    let after = last_event_id(request.headers())?.or(after);
    let after = after.map(|text| text.parse().map_err(|()| gone())).transpose()?;
    check(room, caller, &template)?;
    let place = place(room, caller)?;
    let proof: Arc<dyn Proof> = KeptProof::of(room, request);
    Ok(AskedChanges { topic: Topic { template, id }, after, proof, place })
}

/// The place up to which a browser has read. It goes before the one in the address, which the page has written at the first time.
fn last_event_id(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().map_err(|_| gone())?;
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// An error unless the template tells its changes and the caller may hear of them.
pub(crate) fn check(room: &Room, caller: &Caller, name: &str) -> Result<()> {
    let templates = room.lent.templates.load();
    let template = templates.known(name, caller.judged())?;
    if !template.changes.on {
        let text = format!("{name} tells no changes; its owner can switch them on under [changes]");
        return Err(BedsError::new(ErrorKind::NoSuchOperation, text));
    }
    let Some(actor) = caller.judged() else { return Ok(()) };
    if !has_one(actor, &template.access.changes) {
        let text = format!("none of the caller's roles may hear of changes of {name}");
        return Err(BedsError::new(ErrorKind::NotAllowed, text));
    }
    match template.changes.missing(actor) {
        None => Ok(()),
        Some(claim) => {
            let text =
                format!("the caller has no claim `{claim}`, by which the changes are chosen");
            Err(BedsError::new(ErrorKind::MissingClaim, text))
        }
    }
}

/// The events of a subscription: that it stands, changes, gaps, and the reason of its end.
fn told(subscription: Subscription, cursor: Cursor, place: LivePlace) -> Http {
    let first = Event::default().event("subscribed").id(cursor.to_string());
    let first = first.data(json!({"cursor": cursor.to_string()}).to_string());
    let rest = stream::unfold(Some((subscription, place)), async |state| {
        let (mut subscription, place) = state?;
        match subscription.next().await {
            Next::Frame(frame) => Some((event(&frame), Some((subscription, place)))),
            Next::End(ending) => Some((end(ending), None)),
        }
    });
    events(stream::StreamExt::chain(stream::iter([first]), rest))
}

fn event(frame: &Frame) -> Event {
    match frame {
        Frame::Change { cursor, json, .. } => Event::default()
            .event("change")
            .id(cursor.to_string())
            .data(String::from_utf8_lossy(json)),
        Frame::Gap { cursor } => {
            let text = "changes are missing here: read the records again";
            Event::default()
                .event("gap")
                .id(cursor.to_string())
                .data(json!({"text": text}).to_string())
        }
    }
}

fn end(ending: Ending) -> Event {
    let data = json!({"reason": ending.code(), "text": ending.text()}).to_string();
    let pause = RandomState::new().hash_one(ending.code()) % SPREAD_MILLIS;
    Event::default().event("end").retry(Duration::from_millis(pause)).data(data)
}

fn events(events: impl Stream<Item = Event> + Send + 'static) -> Http {
    let events = stream::StreamExt::map(events, Ok::<_, Infallible>);
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    ([UNBUFFERED], Sse::new(events).keep_alive(alive)).into_response()
}

/// A ticket as it moves, until it has ended.
pub(crate) async fn ticket(State(room): RoomState, path: Params<String>, request: Request) -> Http {
    let (context, _) = request::context(&room, &request);
    let (event_id, proof) = (context.event_id.clone(), KeptProof::of(&room, &request));
    let place = place(&room, &Caller::of(&request));
    drop(request);
    let begun = async {
        let (place, id) = (place?, tickets::id(path)?);
        let (of, context) = (Arc::clone(&room), context.clone());
        Ok((WatchedTicket::begin(of, &id, context, proof).await?, place))
    };
    match begun.await {
        Ok((watched, place)) => with_event_id(events(moves(watched, place)), &event_id),
        Err(error) => {
            report_refused(&room, &context, Operation::Fetch, (Some(TICKETS), None), &error);
            ProblemDocument::new(error, event_id).into_response()
        }
    }
}

/// The events of a ticket: as it is, each move, and that it has ended.
fn moves(watched: WatchedTicket, place: LivePlace) -> impl Stream<Item = Event> + Send + 'static {
    let first = moved(&watched);
    let rest = stream::unfold(Some((watched, place)), async |state| {
        let (mut watched, place) = state?;
        Some(match watched.next().await {
            Ok(true) => (moved(&watched), Some((watched, place))),
            Ok(false) => {
                let data = json!({"reason": "ended", "text": "the ticket has ended"}).to_string();
                (Event::default().event("end").data(data), None)
            }
            Err(ending) => (end(ending), None),
        })
    });
    stream::StreamExt::chain(stream::iter([first]), rest)
}

fn moved(watched: &WatchedTicket) -> Event {
    Event::default().event("ticket").data(watched.json().to_string())
}
