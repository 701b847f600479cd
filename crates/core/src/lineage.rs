//! The record of an event and of its children: [`LineageRecord`]. How records travel is `transport::recorder`'s; how they
//! are stored is the DBA's.

pub mod tree;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{EventId, Operation, Outcome};

/// One event with the children that ended together with it. Stored once: its id is [`EventId::record`] of its first node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LineageRecord {
    #[serde(rename = "_id")]
    pub id: String,
    /// None where the record is about the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_id: Option<EventId>,
    /// Stored as the text of a JSON array: one value for the store instead of dozens. Ids that begin with `:` are those of
    /// children of the record's event, and `:` alone is the event itself.
    #[serde(with = "as_text")]
    nodes: Vec<LineageNode>,
}

mod as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::LineageNode;

    pub(super) fn serialize<S: Serializer>(nodes: &[LineageNode], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(nodes).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LineageNode>, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

impl LineageRecord {
    /// Ends the id of a `running` record. The final record of the same event replaces it in the tree.
    const BEGUN: &str = "begun";
    /// Ends the id of the child that stands for a caller that stopped waiting.
    pub const TIMEOUT: &str = "timeout";

    /// The bounds of the ids of an event's records, given its id or that of one of its children; the upper bound is
    /// exclusive.
    pub fn ids(id: &str) -> [String; 2] {
        let event = EventId::of_child(id);
        let behind = char::from_u32(u32::from(EventId::CHILD) + 1).unwrap_or(char::MAX);
        [format!("{event}{}", EventId::CHILD), format!("{event}{behind}")]
    }

    /// The record of an event or a step that ended. `digest` is that of the message, where there was one.
    pub fn ended(root_id: EventId, mut nodes: Vec<LineageNode>, digest: Option<&str>) -> Self {
        let id = match nodes.first_mut() {
            // The text need not say it again.
            Some(first) if !first.event_id.is_child() => {
                let event = std::mem::replace(&mut first.event_id, EventId::of_same_record());
                event.record(first.outcome, digest)
            }
            first => first.map(|node| node.event_id.clone()).unwrap_or_default(),
        };
        Self { root_id: (root_id.0 != EventId::of_child(&id.0)).then_some(root_id), id: id.0, nodes }
    }

    /// The record of an event that has begun. The record of its end takes its place in the tree.
    pub fn begun(root_id: EventId, nodes: Vec<LineageNode>) -> Self {
        let ended = Self::ended(root_id, nodes, None);
        let id = EventId(EventId::of_child(&ended.id).to_owned()).child(Self::BEGUN);
        Self { id: id.0, ..ended }
    }

    /// The root of the tree that the record belongs to.
    pub fn root_id(&self) -> EventId {
        self.root_id.clone().unwrap_or_else(|| EventId(EventId::of_child(&self.id).to_owned()))
    }

    /// The nodes with their full ids.
    pub fn into_nodes(self) -> Vec<LineageNode> {
        let (mut nodes, event) = (self.nodes, EventId::of_child(&self.id));
        let seen_by = nodes.first().map(|first| first.node.clone()).unwrap_or_default();
        for node in &mut nodes {
            if node.node.is_empty() {
                node.node.clone_from(&seen_by);
            }
            node.event_id.make_absolute(event);
            node.parent_id.make_absolute(event);
        }
        nodes
    }
}

/// One node of the tree that a root event grows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LineageNode {
    pub event_id: EventId,
    /// Empty for a root.
    #[serde(default, skip_serializing_if = "EventId::is_none")]
    pub parent_id: EventId,
    pub depth: u32,
    pub kind: NodeKind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The database object, the reason of a dead letter, or the text of a log line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// The node that saw it; in a record, empty where it is that of the record's first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub queue: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub worker: String,
    pub start: Timestamp,
    /// From the event's issue until a worker began, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_wait_us: Option<u64>,
    /// In microseconds; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    pub outcome: Outcome,
    /// The stable code of the error, such as `BEDS-0007`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// With an event that a worker had: [`digest`](crate::digest::digest) of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// With a running node: when its caller stops waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The caller's W3C `traceparent`, with the root only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl LineageNode {
    /// A node of which only this is known. It began now.
    pub fn new(event_id: EventId, node: &str, kind: NodeKind, outcome: Outcome) -> Self {
        Self {
            event_id,
            parent_id: EventId::default(),
            depth: 0,
            kind,
            template: String::new(),
            operation: None,
            object: None,
            actor: String::new(),
            node: node.to_owned(),
            queue: String::new(),
            worker: String::new(),
            start: Timestamp::now(),
            queue_wait_us: None,
            duration_us: None,
            outcome,
            code: None,
            digest: None,
            deadline: None,
            traceparent: None,
        }
    }
}

/// The kind of a node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// An event that came by HTTP.
    Http,
    /// An event that came by AMQP from a client that is not a gateway.
    Amqp,
    /// A call of a named database object.
    Call,
    /// No call was made: the answer of an earlier one with the same key was given. The object is the event of that one.
    Repeat,
    /// A call that was made again, because the one before could not be completed.
    Retry,
    /// The message was handed out again, because the worker before did not finish it.
    Redelivery,
    Audit,
    Log,
    DeadLetter,
    /// The caller stopped waiting.
    Timeout,
    /// The answer came when its caller had stopped waiting.
    LateReply,
    /// A dead letter that an operator sent again.
    Replay,
    /// A dead letter that an operator threw away.
    Discard,
}

/// A time as exact as a store of documents keeps it.
pub fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Microseconds of a duration, for records.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
