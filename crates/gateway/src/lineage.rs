//! `GET /v1/lineage/{event_id}`: the whole tree that an event belongs to.
//!
//! Not here: how a tree is read (`transport::Reader`).

use axum::extract::{Query as UrlQuery, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as Http};
use beds_core::{BedsError, ErrorKind, Result};
use beds_trail::tree::Tree;
use beds_transport::Reader;
use serde::Deserialize;

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
    let (context, headers_read) = request::context(&room, &request);
    let event_id = context.event_id.clone();
    let handled = async {
        let _permit = limits::in_flight(&room)?;
        headers_read?;
        let id = path_of(path)?;
        let bad = |_| {
            BedsError::new(ErrorKind::MalformedBody, "`format` is json, text or dot")
                .with_field("format")
        };
        let format = asked.map_err(bad)?.format;
        Ok((Reader::new(&room.lent.client, context).tree(&id).await?, format))
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

/// The tree in a format, with its content type.
pub fn show(tree: &Tree, format: Format) -> (&'static str, String) {
    match format {
        Format::Json => ("application/json", tree.to_json().to_string()),
        Format::Text => ("text/plain; charset=utf-8", tree.to_text()),
        Format::Dot => ("text/vnd.graphviz", tree.to_dot()),
    }
}
