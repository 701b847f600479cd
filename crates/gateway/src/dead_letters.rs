//! `/v1/dead-letters`: messages that could not be worked on, for administrators. One pass of `transport::DeadLetters` each.
//!
//! Not here: how the queue is gone through, which is the transport's.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use beds_core::{Actor, BedsError, ErrorKind, Result, Templates};
use beds_transport::{DeadLetter, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::problem::{ProblemDocument, with_event_id};
use crate::request::{Params, path_of};
use crate::{Room, RoomState, limits};

/// Which of them: one by its id in the path, or all of a cause.
#[derive(Deserialize)]
pub(crate) struct OfCause {
    cause: String,
    #[serde(default)]
    even_if_it_may_happen_twice: bool,
}

/// Whether writes that the inbox may have forgotten are sent again too.
#[derive(Deserialize)]
pub(crate) struct AtAnyAge {
    #[serde(default)]
    even_if_it_may_happen_twice: bool,
}

fn replaying(at_any_age: bool) -> Verdict {
    if at_any_age { Verdict::ReplayAtAnyAge } else { Verdict::Replay }
}

pub(crate) async fn list(State(room): RoomState, caller: Caller) -> Response {
    let listed = sort(&room, &caller, |_| Verdict::Leave).await.map(|letters| {
        let mut causes: BTreeMap<(String, &str, String), u64> = BTreeMap::new();
        for (letter, _) in &letters {
            *causes.entry((letter.cause(), &letter.queue, letter.what())).or_default() += 1;
        }
        let causes: Vec<Value> = causes
            .into_iter()
            .map(|((cause, queue, what), count)| json!({"cause": cause, "queue": queue, "what": what, "count": count}))
            .collect();
        let templates = room.lent.templates.load();
        let letters: Vec<Value> = letters.iter().map(|(letter, _)| summary(letter, &templates)).collect();
        json!({ "causes": causes, "dead_letters": letters })
    });
    answer(&room, listed)
}

pub(crate) async fn show(State(room): RoomState, caller: Caller, path: Params<String>) -> Response {
    let id = match path_of(path) {
        Ok(id) => id,
        Err(error) => return answer(&room, Err(error)),
    };
    let found = sort(&room, &caller, |_| Verdict::Leave).await.and_then(|letters| {
        let (letter, _) =
            letters.into_iter().find(|(letter, _)| letter.id == id).ok_or_else(none_fits)?;
        let templates = room.lent.templates.load();
        let mut shown = summary(&letter, &templates);
        shown["event"] = json!(letter.shown(&templates, &caller.actor));
        Ok(shown)
    });
    answer(&room, found)
}

pub(crate) async fn replay(
    State(room): RoomState,
    caller: Caller,
    path: Params<String>,
    asked: Result<Query<AtAnyAge>, QueryRejection>,
) -> Response {
    let id = match path_of(path) {
        Ok(id) => id,
        Err(error) => return answer(&room, Err(error)),
    };
    let Ok(Query(AtAnyAge { even_if_it_may_happen_twice })) = asked else {
        let text = "even_if_it_may_happen_twice is true or false";
        return answer(&room, Err(BedsError::new(ErrorKind::WrongType, text)));
    };
    settle(&room, &caller, replaying(even_if_it_may_happen_twice), move |letter| letter.id == id)
        .await
}

pub(crate) async fn discard(
    State(room): RoomState,
    caller: Caller,
    path: Params<String>,
) -> Response {
    let id = match path_of(path) {
        Ok(id) => id,
        Err(error) => return answer(&room, Err(error)),
    };
    settle(&room, &caller, Verdict::Discard, move |letter| letter.id == id).await
}

pub(crate) async fn replay_all(
    State(room): RoomState,
    caller: Caller,
    asked: Result<Query<OfCause>, QueryRejection>,
) -> Response {
    settle_all(&room, &caller, Verdict::Replay, asked).await
}

pub(crate) async fn discard_all(
    State(room): RoomState,
    caller: Caller,
    asked: Result<Query<OfCause>, QueryRejection>,
) -> Response {
    settle_all(&room, &caller, Verdict::Discard, asked).await
}

async fn settle_all(
    room: &Arc<Room>,
    caller: &Caller,
    verdict: Verdict,
    asked: Result<Query<OfCause>, QueryRejection>,
) -> Response {
    match asked {
        Ok(Query(OfCause { cause, even_if_it_may_happen_twice })) => {
            let verdict = if verdict == Verdict::Replay {
                replaying(even_if_it_may_happen_twice)
            } else {
                verdict
            };
            settle(room, caller, verdict, move |letter| letter.cause() == cause).await
        }
        Err(_) => {
            let text = "which ones? Give ?cause= as the list names it, or an id in the path";
            answer(room, Err(BedsError::new(ErrorKind::MissingParameter, text).with_field("cause")))
        }
    }
}

async fn settle(
    room: &Arc<Room>,
    caller: &Caller,
    verdict: Verdict,
    is_meant: impl Fn(&DeadLetter) -> bool + Send + 'static,
) -> Response {
    let judge = move |letter: &DeadLetter| if is_meant(letter) { verdict } else { Verdict::Leave };
    let settled = sort(room, caller, judge).await.and_then(|letters| {
        let of = |is_meant: fn(Verdict) -> bool| -> Vec<&str> {
            let meant = letters.iter().filter(|(_, verdict)| is_meant(*verdict));
            meant.map(|(letter, _)| letter.id.as_str()).collect()
        };
        let (ids, too_old) =
            (of(|verdict| !verdict.leaves()), of(|verdict| verdict == Verdict::TooOld));
        if ids.is_empty() && too_old.is_empty() {
            return Err(none_fits());
        }
        Ok(match verdict {
            Verdict::Discard => json!({ "discarded": ids }),
            _ if too_old.is_empty() => json!({ "replayed": ids }),
            _ => json!({ "replayed": ids, "left_because_they_may_happen_twice": too_old }),
        })
    });
    answer(room, settled)
}

/// One pass, in a task of its own: a caller that goes away in the middle of it does not end it.
async fn sort(
    room: &Arc<Room>,
    caller: &Caller,
    judge: impl FnMut(&DeadLetter) -> Verdict + Send + 'static,
) -> Result<Vec<(DeadLetter, Verdict)>> {
    caller.check(&room.lent.templates.load().access().dead_letters, "look after dead letters")?;
    let _permit = limits::in_flight(room, limits::share(room, caller)?)?;
    let actor = Actor::clone(&caller.actor);
    let dead_letters = room.lent.client.dead_letters(actor, room.lent.inbox);
    let pass = room.tasks.spawn(async move { dead_letters.sort(judge).await });
    let abort = pass.abort_handle();
    let unavailable = |source: String| {
        let text = "the dead letters could not be gone through; letters that were not settled are still there";
        BedsError::new(ErrorKind::Unavailable, text).with_source(source)
    };
    match tokio::time::timeout(room.config.max_timeout, pass).await {
        Ok(Ok(sorted)) => sorted.map_err(|error| unavailable(error.to_string())),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => {
            // Nothing more is settled in the name of a caller that was told so.
            abort.abort();
            Err(unavailable("it took too long".to_owned()))
        }
    }
}

fn none_fits() -> BedsError {
    let text = "no dead letter fits, or the fitting one is no event and can only be discarded";
    BedsError::new(ErrorKind::NoSuchRecord, text)
}

fn summary(letter: &DeadLetter, templates: &Templates) -> Value {
    json!({
        "id": letter.id, "cause": letter.cause(), "detail": letter.detail_shown(templates), "queue": letter.queue, "what": letter.what(),
        "bytes": letter.bytes,
    })
}

fn answer(room: &Room, outcome: Result<Value>) -> Response {
    match outcome {
        Ok(body) => {
            with_event_id((StatusCode::OK, axum::Json(body)).into_response(), &room.event_id())
        }
        Err(error) => ProblemDocument::new(error, room.event_id()).into_response(),
    }
}
