//! Reading the trail: stored reports of a template, and the whole tree of an event.
//!
//! Not here: the way to the templates ([`Open`]), how often an id is looked for that is not known yet (`transport::Reader`).

use std::collections::{HashMap, HashSet};

use beds_core::{BedsError, ErrorKind, EventId, NamasteCore, Query, Result, Select};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::audit::{AuditRecord, SealedRecord};
use crate::span::{LineageReport, Span};
use crate::tree::{Tree, log_span};

/// So many ids are asked for at once.
const IDS_AT_ONCE: usize = 2_000;

/// Opens templates for the reads of one request.
pub trait Open: Sync {
    /// The template for the next read.
    fn open(&self, template: &str) -> Box<dyn NamasteCore>;
}

/// Reads the stored reports that a named fetch of one of BEDS's own templates finds.
///
/// # Errors
/// Those of the read, and [`ErrorKind::Internal`] for a report that cannot be read: the schema is BEDS's.
pub async fn fetch<T: DeserializeOwned>(
    from: &impl Open,
    template: &str,
    name: &str,
    arguments: Vec<(&str, Value)>,
) -> Result<Vec<T>> {
    let params = arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let query = Query { select: Select::Named(name.to_owned()), params };
    let responses = from.open(template).fetch_records(&query).await?;
    let broken =
        |e| BedsError::new(ErrorKind::Internal, "a stored report cannot be read").with_source(e);
    let texts = responses.into_iter().filter_map(|response| response.record);
    texts.map(|text| serde_json::from_str(text.get()).map_err(broken)).collect()
}

/// The tree of an event, given any id of it; none where no report of it is stored yet.
pub async fn tree(from: &impl Open, id: &str) -> Result<Option<Tree>> {
    let found: Vec<LineageReport> = fetch(from, "Lineage", "about", about(id)).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let root = first.root_id();
    let mut of_root = about(&root.0);
    of_root.push(("root", root.0.as_str().into()));
    let reports: Vec<LineageReport> = fetch(from, "Lineage", "tree", of_root).await?;
    let spans: Vec<Span> = reports.into_iter().flat_map(LineageReport::into_spans).collect();
    let mut events: HashMap<&str, (u32, HashSet<&str>)> = HashMap::new();
    for span in spans.iter().filter(|span| !span.event_id.is_child()) {
        let (_, digests) =
            events.entry(&span.event_id.0).or_insert_with(|| (span.depth, HashSet::new()));
        // The requester reports the event too, and never had its message. The same bytes may have come more than once.
        digests.extend(span.digest.as_deref());
    }
    let ids = events.iter().flat_map(|(id, (_, digests))| AuditRecord::ids(id, digests));
    let audit: Vec<SealedRecord> =
        fetch_of(from, "Audit", "ids", ids.map(|id| Value::from(id.0)).collect()).await?;
    let ids = events.keys().map(|id| Value::from(*id)).collect();
    let lines: Vec<LogLine> = fetch_of(from, "Logs", "events", ids).await?;
    let depth = |event: &EventId| events.get(event.0.as_str()).map_or(1, |(depth, _)| depth + 1);
    let logs = lines.into_iter().map(|line| line.into_span(depth)).collect();
    Ok(Some(Tree::new(root, spans, audit, logs)))
}

/// The arguments for the reports of an event, given its id or that of one of its children.
fn about(id: &str) -> Vec<(&'static str, Value)> {
    ["from", "to"]
        .into_iter()
        .zip(LineageReport::ids(id))
        .map(|(name, id)| (name, Value::from(id)))
        .collect()
}

/// The reports about these ids, asked for in parts that a request can hold.
async fn fetch_of<T: DeserializeOwned>(
    from: &impl Open,
    template: &str,
    parameter: &str,
    ids: Vec<Value>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for part in ids.chunks(IDS_AT_ONCE) {
        all.extend(
            fetch(from, template, "of", vec![(parameter, Value::Array(part.to_vec()))]).await?,
        );
    }
    Ok(all)
}

/// A stored line of the log.
#[derive(Deserialize)]
struct LogLine {
    #[serde(rename = "_id")]
    id: EventId,
    at: Timestamp,
    level: String,
    node: String,
    event: EventId,
    message: String,
}

impl LogLine {
    fn into_span(self, depth: impl Fn(&EventId) -> u32) -> Span {
        let (depth, text) = (depth(&self.event), format!("{} {}", self.level, self.message));
        Span { start: self.at, ..log_span(self.id, self.event, depth, &self.node, text) }
    }
}
