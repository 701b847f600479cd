//! `GET /v1/lineage/{event_id}`: the whole tree that an event belongs to, read through templates like any record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use axum::extract::{Query as UrlQuery, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response as Http};
use beds_core::audit::{AuditRecord, SealedRecord};
use beds_core::lineage::tree::{self, Tree};
use beds_core::lineage::{LineageNode, LineageRecord};
use beds_core::{BedsError, ErrorKind, EventId, NamasteCore, Query, Result, Select};
use beds_transport::{Cause, Client, Context};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{Problem, with_event_id};
use crate::request::{Params, path_of};
use crate::{Room, limits, request};

/// How often an id that is not known yet is looked for again: records arrive a moment after the answer.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// So many ids are asked for at once.
const IDS_AT_ONCE: usize = 2_000;

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
        let bad = |_| BedsError::new(ErrorKind::MalformedBody, "`format` is json, text or dot").with_field("format");
        let format = asked.map_err(bad)?.format;
        Ok((read(&room.lent.client, context, &id).await?, format))
    };
    match handled.await {
        Ok((tree, format)) => {
            let (kind, body) = show(&tree, format);
            let mut response = body.into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            with_event_id(response, &event_id)
        }
        Err(error) => Problem::new(error, event_id).into_response(),
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

/// Reads the tree of an event, given any of its nodes. `context` is that of the request which asks.
pub async fn read(client: &Client, context: Context, id: &str) -> Result<Tree> {
    let reader = Reader { client, context };
    let about = |id: &str| -> Vec<(&'static str, Value)> {
        ["from", "to"].into_iter().zip(LineageRecord::ids(id)).map(|(name, id)| (name, Value::from(id))).collect()
    };
    let mut found: Vec<LineageRecord> = reader.fetch("Lineage", "about", about(id), true).await?;
    for _ in 1..LOOKS {
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        found = reader.fetch("Lineage", "about", about(id), false).await?;
    }
    let root = found.into_iter().next().ok_or_else(|| tree::unknown(id))?.root_id();
    let mut of_root = about(&root.0);
    of_root.push(("root", root.0.as_str().into()));
    let records: Vec<LineageRecord> = reader.fetch("Lineage", "tree", of_root, false).await?;
    let nodes: Vec<LineageNode> = records.into_iter().flat_map(LineageRecord::into_nodes).collect();
    let mut events: HashMap<&str, (u32, HashSet<&str>)> = HashMap::new();
    for node in nodes.iter().filter(|node| !node.event_id.is_child()) {
        let (_, digests) = events.entry(&node.event_id.0).or_insert_with(|| (node.depth, HashSet::new()));
        // The requester reports the event too, and never had its message. The same bytes may have come more than once.
        digests.extend(node.digest.as_deref());
    }
    let ids: Vec<Value> = events
        .iter()
        .flat_map(|(id, (_, digests))| AuditRecord::ids(id, digests))
        .map(|id| Value::from(id.0))
        .collect();
    let audit: Vec<SealedRecord> = reader.fetch_of("Audit", "ids", ids).await?;
    let lines: Vec<LogLine> =
        reader.fetch_of("Logs", "events", events.keys().map(|id| Value::from(*id)).collect()).await?;
    let depths: HashMap<String, u32> = events.iter().map(|(id, (depth, _))| ((*id).to_owned(), *depth)).collect();
    let logs = lines.into_iter().map(|line| line.into_node(&depths)).collect();
    Ok(Tree::new(root, nodes, audit, logs))
}

#[derive(Deserialize)]
struct LogLine {
    #[serde(rename = "_id")]
    id: EventId,
    at: jiff::Timestamp,
    level: String,
    node: String,
    event: EventId,
    message: String,
}

impl LogLine {
    fn into_node(self, depths: &HashMap<String, u32>) -> LineageNode {
        let depth = depths.get(&self.event.0).map_or(1, |depth| depth + 1);
        let text = format!("{} {}", self.level, self.message);
        LineageNode { start: self.at, ..tree::log_node(self.id, self.event, depth, &self.node, text) }
    }
}

/// Reads records for one request: its first read is the request's own event, the others are consequences of it.
struct Reader<'c> {
    client: &'c Client,
    context: Context,
}

impl Reader<'_> {
    async fn fetch<T: DeserializeOwned>(
        &self,
        template: &str,
        name: &str,
        arguments: Vec<(&'static str, Value)>,
        is_first: bool,
    ) -> Result<Vec<T>> {
        let mut context = self.context.clone();
        if !is_first {
            let (event_id, root_id) = (self.context.event_id.clone(), self.context.event_id.clone());
            context.event_id = self.client.recorder().event_id();
            context.cause = Some(Cause { event_id, root_id, depth: 0 });
        }
        let params = arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let query = Query { select: Select::Named(name.to_owned()), params };
        let responses = self.client.open(template, context).fetch_records(&query).await?;
        tree::read(responses.into_iter().filter_map(|response| response.record))
    }

    /// The records about these ids, asked for in parts that a request can hold.
    async fn fetch_of<T: DeserializeOwned>(
        &self,
        template: &str,
        parameter: &'static str,
        ids: Vec<Value>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for part in ids.chunks(IDS_AT_ONCE) {
            let arguments = vec![(parameter, Value::Array(part.to_vec()))];
            all.extend(self.fetch(template, "of", arguments, false).await?);
        }
        Ok(all)
    }
}
