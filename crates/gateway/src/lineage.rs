//! `GET /v1/lineage/{event_id}`: the whole tree that an event belongs to.
//!
//! Not here: how a tree is read (`transport::Reader`).

use std::sync::Arc;

use axum::extract::{Query as UrlQuery, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as Http};
use beds_core::access::has_one;
use beds_core::{Actor, BedsError, ErrorKind, Result};
use beds_trail::span::Span;
use beds_trail::tree::{Tree, unknown};
use beds_transport::Reader;
use serde::Deserialize;

use crate::caller::Caller;
use crate::problem::{ProblemDocument, with_event_id};
use crate::request::{Params, path_of};
use crate::{Room, limits, request};

/// How a tree is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    Text,
    Dot,
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    format: Format,
}

pub(crate) async fn lineage(
    State(room): State<std::sync::Arc<Room>>,
    path: Params<String>,
    asked: Result<UrlQuery<Asked>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Http {
    let (mut context, headers_read) = request::context(&room, &request);
    // The tree is read with every right, and shown to its caller or to an operator.
    context.actor = Arc::new(Actor::clone(&context.actor).with_every_right());
    let (event_id, caller) = (context.event_id.clone(), Caller::of(&request));
    let handled = async {
        let _permit = limits::in_flight(&room, limits::share(&room, &caller)?)?;
        headers_read?;
        let id = path_of(path)?;
        let bad = |_| {
            BedsError::new(ErrorKind::MalformedBody, "`format` is json, text or dot")
                .with_field("format")
        };
        let format = asked.map_err(bad)?.format;
        let tree = Reader::new(&room.lent.client, context).tree(&id).await?;
        // A tree of another caller is as one that is not there.
        match is_allowed(&room, &caller, &tree) {
            true => Ok((tree, format)),
            false => Err(unknown(&id)),
        }
    };
    match handled.await {
        Ok((tree, format)) => {
            let (kind, body) = show(&tree, format);
            let mut response = body.into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            with_event_id(response, &event_id)
        }
        Err(error) => ProblemDocument::new(error, event_id).into_response(),
    }
}

/// True for a tree that the caller began, and for each one where a role of the caller's is for it.
fn is_allowed(room: &Room, caller: &Caller, tree: &Tree) -> bool {
    let Some(actor) = caller.judged() else { return true };
    let root = tree.spans().iter().find(|span| span.event_id == *tree.root_id());
    // A client can send an event with the id of another's: the spans of both are then in the tree.
    let is_of_others = |span: &Span| !span.actor.is_empty() && span.actor != actor.subject;
    let is_own =
        root.is_some_and(|root| !root.actor.is_empty()) && !tree.spans().iter().any(is_of_others);
    is_own || has_one(actor, &room.lent.templates.load().access().lineage)
}

/// The tree in a format, with its content type.
pub fn show(tree: &Tree, format: Format) -> (&'static str, String) {
    match format {
        Format::Json => ("application/json", tree.to_json().to_string()),
        Format::Text => ("text/plain; charset=utf-8", tree.to_text()),
        Format::Dot => ("text/vnd.graphviz", tree.to_dot()),
    }
}
