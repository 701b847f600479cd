//! What is kept of an event and of what came of it: [`LineageRecord`]. [`Steps`] is where an adapter notes its calls while
//! it works. How records travel is `transport::recorder`'s; how they are stored is the DBA's.

pub mod tree;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BedsError, EventId, Operation};

/// One event with the children that ended together with it. Stored once: its id is the id of its first node, or that
/// with [`LineageRecord::BEGUN`] behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LineageRecord {
    #[serde(rename = "_id")]
    pub id: String,
    /// None where the record's id is that of the root.
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
    /// Behind the id of a record of something that has begun and whose end nobody has told yet.
    pub const BEGUN: &str = ":begun";
    /// Behind the id of a record of something that failed: when the message is handed out again, it may succeed.
    const FAILED: &str = ":failed";
    /// What names the child that stands for a caller who stopped waiting.
    pub const TIMEOUT: &str = "timeout";

    /// Where the record of an event may be found, given its id or that of one of its children.
    pub fn ids(id: &str) -> Vec<String> {
        let event = EventId(EventId::of_child(id).to_owned());
        vec![
            id.to_owned(),
            event.0.clone(),
            format!("{event}{}", Self::BEGUN),
            format!("{event}{}", Self::FAILED),
            event.child(Self::TIMEOUT).0,
        ]
    }

    /// The record of something that ended.
    pub fn ended(root_id: EventId, mut nodes: Vec<LineageNode>) -> Self {
        let has_failed = nodes.first().is_some_and(|first| first.outcome == Outcome::Failed);
        let mut id = match nodes.first_mut() {
            // The text need not say it again.
            Some(first) if !first.event_id.is_child() => {
                std::mem::replace(&mut first.event_id, EventId::of_same_record()).0
            }
            first => first.map(|node| node.event_id.0.clone()).unwrap_or_default(),
        };
        if has_failed {
            id.push_str(Self::FAILED);
        }
        Self { root_id: (root_id.0 != id).then_some(root_id), id, nodes }
    }

    /// The record of something that has begun. What tells its end takes its place in the tree.
    pub fn begun(root_id: EventId, nodes: Vec<LineageNode>) -> Self {
        let Self { mut id, nodes, .. } = Self::ended(root_id.clone(), nodes);
        id.push_str(Self::BEGUN);
        Self { id, root_id: Some(root_id), nodes }
    }

    /// The root of the tree that the record belongs to.
    pub fn root_id(&self) -> EventId {
        self.root_id.clone().unwrap_or_else(|| EventId(self.id.clone()))
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
            traceparent: None,
        }
    }
}

/// What a node of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// An event that came by HTTP.
    Http,
    /// An event that came by AMQP from a client that is not a gateway.
    Amqp,
    /// A call of a named database object.
    Call,
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

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Failed,
    Running,
    /// Nobody who could tell has told.
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Running => "running",
            Outcome::Unknown => "unknown",
        }
    }

    pub fn of<T>(outcome: &Result<T, &BedsError>) -> Self {
        if outcome.is_ok() { Outcome::Ok } else { Outcome::Failed }
    }
}

/// The header in which a caller's trace travels, over HTTP and AMQP.
pub const TRACEPARENT: &str = "traceparent";

/// True where a text is one as W3C says: `00-` 32 digits `-` 16 digits `-` 2 digits.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.len() == 4 && parts.iter().zip([2, 32, 16, 2]).all(|(part, length)| is_hex(part, length)) && parts[0] != "ff"
}

/// A time as exact as a store of documents keeps it.
pub fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Microseconds of a duration, for records.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The calls that were made for an event, in order. Never travels with it.
#[derive(Debug, Default)]
pub struct Steps(Mutex<Vec<Step>>);

/// One call of a named database object.
#[derive(Debug, Clone)]
pub struct Step {
    pub object: String,
    pub start: Timestamp,
    pub duration: Duration,
    /// The code of its error; none where it answered.
    pub code: Option<&'static str>,
    /// False where nobody waited for its end.
    pub is_ended: bool,
}

impl Clone for Steps {
    /// A copy of an event has made no calls yet.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Steps {
    /// A call begins. It is noted when the guard is ended, or dropped.
    pub fn begin<'s>(&'s self, object: &'s str) -> StepGuard<'s> {
        StepGuard { steps: self, object, start: Timestamp::now(), clock: Instant::now(), ended: None }
    }

    /// Everything noted so far, taken out.
    pub fn take(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A call that is under way.
#[derive(Debug)]
pub struct StepGuard<'s> {
    steps: &'s Steps,
    object: &'s str,
    start: Timestamp,
    clock: Instant,
    ended: Option<Option<&'static str>>,
}

impl StepGuard<'_> {
    /// The call ended, with the code of its error if it failed.
    pub fn end(mut self, code: Option<&'static str>) {
        self.ended = Some(code);
    }
}

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        let step = Step {
            object: self.object.to_owned(),
            start: self.start,
            duration: self.clock.elapsed(),
            code: self.ended.flatten(),
            is_ended: self.ended.is_some(),
        };
        self.steps.0.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_nobody_waited_for_is_noted_too() {
        let steps = Steps::default();
        steps.begin("a").end(None);
        steps.begin("b").end(Some("BEDS-0016"));
        drop(steps.begin("c"));
        let noted: Vec<_> = steps.take().into_iter().map(|s| (s.object, s.code, s.is_ended)).collect();
        assert_eq!(
            noted,
            [("a".to_owned(), None, true), ("b".to_owned(), Some("BEDS-0016"), true), ("c".to_owned(), None, false)]
        );
        assert!(steps.take().is_empty());
    }
}
