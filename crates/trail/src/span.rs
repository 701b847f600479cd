//! [`Span`], one step in the tree of a request, and [`LineageReport`], the spans that ended together.
//!
//! Not here: how reports travel (`transport::reports`), how they are stored (`broker::pool::scribe`).

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use beds_core::{Event, EventId, Operation, Outcome};

/// The report of one event with the children that ended together with it. Stored once: its id is [`EventId::record`] of its first span.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LineageReport {
    #[serde(rename = "_id")]
    pub id: String,
    /// None where the record is about the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_id: Option<EventId>,
    /// Stored as the text of a JSON array: one value for the store instead of dozens. Ids that begin with `:` are those of
    /// children of the report's event, and `:` alone is the event itself.
    #[serde(rename = "nodes", with = "as_text")]
    spans: Vec<Span>,
}

mod as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Span;

    pub(super) fn serialize<S: Serializer>(
        spans: &[Span],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(spans).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Span>, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

impl LineageReport {
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
    pub fn ended(root_id: EventId, mut spans: Vec<Span>, digest: Option<&str>) -> Self {
        let id = match spans.first_mut() {
            // The text need not say it again.
            Some(first) if !first.event_id.is_child() => {
                let event = std::mem::replace(&mut first.event_id, EventId::of_same_record());
                event.record(first.outcome, digest)
            }
            first => first.map(|span| span.event_id.clone()).unwrap_or_default(),
        };
        Self {
            root_id: (root_id.0 != EventId::of_child(&id.0)).then_some(root_id),
            id: id.0,
            spans,
        }
    }

    /// The record of an event that has begun. The record of its end takes its place in the tree.
    pub fn begun(root_id: EventId, spans: Vec<Span>) -> Self {
        let ended = Self::ended(root_id, spans, None);
        let id = EventId(EventId::of_child(&ended.id).to_owned()).child(Self::BEGUN);
        Self { id: id.0, ..ended }
    }

    /// The root of the tree that the record belongs to.
    pub fn root_id(&self) -> EventId {
        self.root_id.clone().unwrap_or_else(|| EventId(EventId::of_child(&self.id).to_owned()))
    }

    /// The spans with their full ids.
    pub fn into_spans(self) -> Vec<Span> {
        let (mut spans, event) = (self.spans, EventId::of_child(&self.id));
        let seen_by = spans.first().map(|first| first.seen_by.clone()).unwrap_or_default();
        for span in &mut spans {
            if span.seen_by.is_empty() {
                span.seen_by.clone_from(&seen_by);
            }
            span.event_id.make_absolute(event);
            span.parent_id.make_absolute(event);
        }
        spans
    }
}

/// One span of the tree that a root event grows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Span {
    pub event_id: EventId,
    /// Empty for a root.
    #[serde(default, skip_serializing_if = "EventId::is_none")]
    pub parent_id: EventId,
    pub depth: u32,
    pub kind: SpanKind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The named fetch, the database object, the reason of a dead letter, or the text of a log line. The release before called it
    /// `object`.
    #[serde(default, alias = "object", skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// The node that saw it; in a report, empty where it is that of the report's first. The release before called it `node`.
    #[serde(default, alias = "node", skip_serializing_if = "String::is_empty")]
    pub seen_by: String,
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
    /// With an event that a worker had: [`digest`](beds_core::digest::digest) of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// With a running span: when its caller stops waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The caller's W3C `traceparent`, with the root only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Span {
    /// The span of an event itself, as it is known before it ends.
    pub fn of(event: &Event, seen_by: &str, outcome: Outcome) -> Self {
        let kind = match (&event.replay_of, &event.origin) {
            (Some(_), _) => SpanKind::Replay,
            (None, Some(_)) => SpanKind::Http,
            (None, None) => SpanKind::Amqp,
        };
        Self {
            parent_id: event.parent_id.clone(),
            depth: event.depth,
            template: event.template.clone(),
            operation: Some(event.operation),
            label: event.name().map(str::to_owned),
            actor: event.actor.subject.clone(),
            start: event.issued_at,
            traceparent: event.origin.as_ref().and_then(|origin| origin.traceparent.clone()),
            ..Self::new(event.event_id.clone(), seen_by, kind, outcome)
        }
    }

    /// A span of which only this is known. It began now.
    pub fn new(event_id: EventId, seen_by: &str, kind: SpanKind, outcome: Outcome) -> Self {
        Self {
            event_id,
            parent_id: EventId::default(),
            depth: 0,
            kind,
            template: String::new(),
            operation: None,
            label: None,
            actor: String::new(),
            seen_by: seen_by.to_owned(),
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

/// The kind of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// An event that came by HTTP.
    Http,
    /// An event that came by AMQP from a client that is not a gateway.
    Amqp,
    /// A call of a named database object.
    Call,
    /// No call was made: the answer of an earlier one with the same key was given. Its label is the event of that one.
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
    /// An attempt at the work of a ticket.
    Attempt,
    /// A schedule that asked for a ticket. Its label is the schedule's name.
    Schedule,
}

/// A time as exact as a store of documents keeps it.
pub fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Microseconds of a duration, for records.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_the_release_before_is_read() {
        let text = r#"{"_id":"ms.test.1:ok","nodes":"[{\"event_id\":\":\",\"depth\":0,\"kind\":\"http\",\"template\":\"Flights\",\"operation\":\"fetch\",\"object\":\"route\",\"node\":\"ms\",\"start\":\"2026-11-23T10:00:00Z\",\"outcome\":\"ok\"},{\"event_id\":\":1\",\"parent_id\":\":\",\"depth\":1,\"kind\":\"call\",\"object\":\"flights_by_route\",\"start\":\"2026-11-23T10:00:00Z\",\"outcome\":\"ok\"}]"}"#;
        let spans = serde_json::from_str::<LineageReport>(text).unwrap().into_spans();
        let read: Vec<_> = spans
            .iter()
            .map(|span| (span.event_id.0.as_str(), span.label.as_deref(), &*span.seen_by))
            .collect();
        assert_eq!(
            read,
            [("ms.test.1", Some("route"), "ms"), ("ms.test.1:1", Some("flights_by_route"), "ms")]
        );
        let sent = serde_json::to_string(&spans[0]).unwrap();
        assert!(
            sent.contains(r#""label":"route""#) && sent.contains(r#""seen_by":"ms""#),
            "{sent}"
        );
    }
}
