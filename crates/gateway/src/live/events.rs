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
use beds_core::ticket::Ticket;
use beds_core::{BedsError, ErrorKind, Operation, Result, TICKETS};
use futures_util::stream::{self, Stream};
use serde_json::json;

use super::cursor::Cursor;
use super::hub::{Ending, Frame, Proof, Topic};
use super::replay::gone;
use super::subscription::{Next, Subscription};
use super::{LivePlace, place};
use crate::caller::{Caller, KeptProof};
use crate::problem::{ProblemDocument, with_event_id};
use crate::refusals::report_refused;
use crate::request::{self, Params};
use crate::tickets::{self, Look};
use crate::{Room, RoomState};

/// A line without meaning is sent so often: a proxy between closes a connection that is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Word of a ticket can get lost; it is looked at so often all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Between two looks at the caller of a ticket's events.
const JUDGED: Duration = Duration::from_millis(400);
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
        let place = place?;
        let id = tickets::id(path)?;
        let look = Look::at_ticket(&room, context.clone(), &id);
        let watched = WatchedTicket {
            shown: look.read().await?,
            room: Arc::clone(&room),
            proof,
            subject: context.actor.subject.clone(),
            look,
            _place: place,
        };
        Ok(watched)
    };
    match begun.await {
        Ok(watched) => with_event_id(events(moves(watched)), &event_id),
        Err(error) => {
            report_refused(&room, &context, Operation::Fetch, (Some(TICKETS), None), &error);
            ProblemDocument::new(error, event_id).into_response()
        }
    }
}

/// A ticket whose moves are told.
struct WatchedTicket {
    room: Arc<Room>,
    proof: Arc<KeptProof>,
    subject: String,
    look: Look,
    /// As it was told last.
    shown: Ticket,
    _place: LivePlace,
}

enum TicketPhase {
    First(WatchedTicket),
    Next(WatchedTicket),
    Ended,
    Closed,
}

fn moves(watched: WatchedTicket) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold(TicketPhase::First(watched), async |phase| match phase {
        TicketPhase::First(watched) => Some((moved(&watched.shown), after(watched))),
        TicketPhase::Next(mut watched) => Some(match watched.next().await {
            Ok(()) => (moved(&watched.shown), after(watched)),
            Err(ending) => (end(ending), TicketPhase::Closed),
        }),
        TicketPhase::Ended => {
            let data = json!({"reason": "ended", "text": "the ticket has ended"}).to_string();
            Some((Event::default().event("end").data(data), TicketPhase::Closed))
        }
        TicketPhase::Closed => None,
    })
}

fn after(watched: WatchedTicket) -> TicketPhase {
    if watched.shown.state.is_active() { TicketPhase::Next(watched) } else { TicketPhase::Ended }
}

fn moved(ticket: &Ticket) -> Event {
    Event::default().event("ticket").data(json!(ticket.shown()).to_string())
}

impl WatchedTicket {
    /// Waits until the ticket is another than was told.
    async fn next(&mut self) -> std::result::Result<(), Ending> {
        let stop = self.room.lent.probes.stop.clone();
        loop {
            // Begins to listen before it looks: word of a move in between is not missed.
            let word = self.room.lent.client.watch(&Ticket::notice(&self.shown.id));
            let is_other = |ticket: &Ticket| json!(ticket.shown()) != json!(self.shown.shown());
            match self.look.read().await {
                Ok(ticket) if is_other(&ticket) => {
                    self.shown = ticket;
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.kind.is_retryable() => {}
                Err(_) => return Err(Ending::Lost),
            }
            let mut judged = tokio::time::interval(JUDGED);
            let look_again = tokio::time::sleep(LOOK_AGAIN);
            tokio::pin!(look_again);
            loop {
                tokio::select! {
                    () = word.given_up() => break,
                    () = &mut look_again => break,
                    () = stop.cancelled() => return Err(Ending::Stopping),
                    _ = judged.tick() => {
                        let caller = self.proof.caller();
                        if caller.is_none_or(|caller| caller.subject != self.subject) {
                            return Err(Ending::Credential);
                        }
                    }
                }
            }
        }
    }
}
