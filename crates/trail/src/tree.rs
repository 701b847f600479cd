//! [`Tree`]: everything that came of one root event, put together from the records, and shown as JSON, text or Graphviz.
//!
//! Not here: reading the reports (read.rs).

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::audit::SealedRecord;
use crate::span::{Span, SpanKind};
use beds_core::Outcome;
use beds_core::text::one_line;
use beds_core::{BedsError, ErrorKind, EventId};

/// Width of the bars that show the time of a span, in characters.
const BAR: usize = 24;
/// Levels below one top. Many a JSON reader takes no more than 128.
const DEEPEST: u32 = 60;
/// How long after its deadline a request without a report of its end still counts as running: its node may have died.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// The tree of one root.
#[derive(Debug, Clone)]
pub struct Tree {
    root_id: EventId,
    /// In the order of their begin.
    spans: Vec<Span>,
    /// Positions of the children that are shown below each span.
    children: Vec<Vec<usize>>,
    /// Positions of the spans at the left margin: the root, spans without a parent here, and spans too deep below theirs.
    tops: Vec<usize>,
}

impl Tree {
    /// Puts the spans of one root together. A span that was reported twice stands once, and an end takes the place of
    /// "running".
    pub fn new(
        root_id: EventId,
        reported: Vec<Span>,
        audit: Vec<SealedRecord>,
        logs: Vec<Span>,
    ) -> Self {
        let mut by_id: BTreeMap<EventId, Span> = BTreeMap::new();
        let audit = audit.into_iter().filter_map(|sealed| span_of(&sealed));
        for span in reported.into_iter().chain(audit).chain(logs) {
            match by_id.get(&span.event_id) {
                Some(known) if rank(known.outcome) >= rank(span.outcome) => {}
                _ => drop(by_id.insert(span.event_id.clone(), span)),
            }
        }
        let now = Timestamp::now();
        let is_lost = |span: &Span| {
            let lost_at = span.deadline.and_then(|deadline| deadline.checked_add(LOST_AFTER).ok());
            span.outcome == Outcome::Running && lost_at.is_some_and(|at| at < now)
        };
        let mut spans: Vec<Span> = by_id.into_values().collect();
        spans
            .iter_mut()
            .filter(|span| is_lost(span))
            .for_each(|span| span.outcome = Outcome::Unknown);
        spans.sort_by_key(|span| (span.depth, span.start));
        let (children, tops) = arrange(&spans);
        Self { root_id, spans, children, tops }
    }

    pub fn root_id(&self) -> &EventId {
        &self.root_id
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Spans whose parent is not in the tree: their records are on the way, or were dropped.
    pub fn orphans(&self) -> Vec<&Span> {
        let known: HashSet<&EventId> = self.spans.iter().map(|span| &span.event_id).collect();
        self.spans
            .iter()
            .filter(|span| !span.parent_id.is_none() && !known.contains(&span.parent_id))
            .collect()
    }

    pub fn is_running(&self) -> bool {
        self.spans.iter().any(|span| span.outcome == Outcome::Running)
    }

    /// `{"root_id":…,"running":false,"tree":[{…,"children":[…]}]}`
    pub fn to_json(&self) -> Value {
        let tree: Vec<Value> = self.tops.iter().map(|position| self.branch(*position)).collect();
        json!({ "root_id": self.root_id, "running": self.is_running(), "tree": tree })
    }

    /// One line a span, with a bar that shows when it ran.
    pub fn to_text(&self) -> String {
        let mut rows = Vec::new();
        for top in &self.tops {
            self.rows(*top, "", "", &mut rows);
        }
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let (begin, end) = self.span();
        let mut text = format!(
            "{}{}\n",
            self.root_id,
            if self.is_running() { "  (still running)" } else { "" }
        );
        for (label, position) in rows {
            let span = &self.spans[position];
            let pad = width - label.chars().count();
            text.push_str(&format!("{label}{:pad$}  {}", "", bar(span, begin, end)));
            match span.duration_us {
                Some(us) => text.push_str(&format!("  {:>9.3} ms\n", us as f64 / 1000.0)),
                None => text.push('\n'),
            }
        }
        text
    }

    /// For Graphviz: `beds lineage ID --format dot | dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut text = "digraph lineage {\n  node [shape=box, fontname=monospace];\n".to_owned();
        for span in &self.spans {
            text.push_str(&format!("  {:?} [label={:?}];\n", span.event_id.0, label(span)));
            if !span.parent_id.is_none() {
                text.push_str(&format!("  {:?} -> {:?};\n", span.parent_id.0, span.event_id.0));
            }
        }
        text.push_str("}\n");
        text
    }

    fn branch(&self, position: usize) -> Value {
        let span = &self.spans[position];
        let mut value = serde_json::to_value(span).unwrap_or_default();
        value["children"] =
            self.children[position].iter().map(|child| self.branch(*child)).collect();
        value
    }

    fn rows(&self, position: usize, first: &str, rest: &str, rows: &mut Vec<(String, usize)>) {
        let span = &self.spans[position];
        rows.push((format!("{first}{}", label(span)), position));
        let children = &self.children[position];
        for (number, child) in children.iter().enumerate() {
            let is_last = number + 1 == children.len();
            let (knee, stem) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.rows(*child, &format!("{rest}{knee}"), &format!("{rest}{stem}"), rows);
        }
    }

    /// Begin and end of the whole tree, in microseconds.
    fn span(&self) -> (i64, i64) {
        let begin = self.spans.iter().map(|span| span.start.as_microsecond()).min().unwrap_or(0);
        // Lasts a microsecond at least: the bars divide by it.
        (begin, self.spans.iter().map(end_of).max().unwrap_or(begin).max(begin + 1))
    }
}

/// The children of each span, and the tops. A publisher names the parents of its events, so the chain may be of any length,
/// or a circle: each [`DEEPEST`] levels a new top begins, and each span is below one.
fn arrange(spans: &[Span]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let places: HashMap<&EventId, usize> =
        spans.iter().enumerate().map(|(at, span)| (&span.event_id, at)).collect();
    let parents: Vec<Option<usize>> =
        spans.iter().map(|span| places.get(&span.parent_id).copied()).collect();
    let mut below = vec![Vec::new(); spans.len()];
    for (at, parent) in parents.iter().enumerate() {
        parent.iter().for_each(|parent| below[*parent].push(at));
    }
    let (mut children, mut tops) = (vec![Vec::new(); spans.len()], Vec::new());
    let mut is_placed = vec![false; spans.len()];
    // Spans with a parent are looked at last: it is only then without a place if it is in a circle.
    let mut starts: Vec<usize> = (0..spans.len()).collect();
    starts.sort_by_key(|at| parents[*at].is_some());
    for start in starts {
        let mut waiting: Vec<(usize, Option<usize>, u32)> = vec![(start, None, 0)];
        while let Some((at, parent, level)) = waiting.pop() {
            if std::mem::replace(&mut is_placed[at], true) {
                continue;
            }
            match parent {
                Some(parent) if level < DEEPEST => children[parent].push(at),
                _ => tops.push(at),
            }
            let level = if level < DEEPEST { level + 1 } else { 1 };
            waiting.extend(below[at].iter().rev().map(|child| (*child, Some(at), level)));
        }
    }
    tops.sort_unstable();
    (children, tops)
}

/// A line of the log as a span of the tree.
pub fn log_span(id: EventId, parent: EventId, depth: u32, seen_by: &str, message: String) -> Span {
    Span {
        parent_id: parent,
        depth,
        label: Some(message),
        ..Span::new(id, seen_by, SpanKind::Log, Outcome::Ok)
    }
}

/// The error for an id that no record knows.
pub fn unknown(id: &str) -> BedsError {
    let id = beds_core::text::quote(id);
    let text = format!(
        "there is no lineage of {id}; records arrive when a node with services.admin has stored them"
    );
    BedsError::new(ErrorKind::NoSuchRecord, text)
}

fn span_of(sealed: &SealedRecord) -> Option<Span> {
    let record = sealed.open()?;
    Some(Span {
        parent_id: record.about,
        depth: record.depth,
        label: Some(format!("{} {}", sealed.chain, sealed.seq)),
        start: record.at,
        ..Span::new(sealed.id.clone(), &record.node, SpanKind::Audit, Outcome::Ok)
    })
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Running => 0,
        Outcome::Unknown => 1,
        Outcome::Failed => 2,
        // A redelivery can mend a failure.
        Outcome::Ok => 3,
    }
}

fn label(span: &Span) -> String {
    let kind = serde_json::to_value(span.kind).unwrap_or_default();
    let mut text = kind.as_str().unwrap_or_default().replace('_', " ");
    if !span.template.is_empty() {
        let operation = span.operation.map(|operation| format!(".{operation}")).unwrap_or_default();
        text.push_str(&format!(" {}{operation}", span.template));
    }
    if let Some(label) = &span.label {
        text.push_str(&format!(" {label}"));
    }
    let outcome = serde_json::to_value(span.outcome).unwrap_or_default();
    text.push_str(&format!("  {}", outcome.as_str().unwrap_or_default()));
    if let Some(code) = &span.code {
        text.push_str(&format!(" {code}"));
    }
    one_line(&text)
}

fn end_of(span: &Span) -> i64 {
    let duration = i64::try_from(span.duration_us.unwrap_or(0)).unwrap_or(0);
    span.start.as_microsecond().saturating_add(duration)
}

fn bar(span: &Span, begin: i64, end: i64) -> String {
    let place = |at: i64| {
        let share = (at - begin) as f64 / (end - begin) as f64;
        ((share * BAR as f64) as usize).min(BAR - 1)
    };
    let (from, to) = (place(span.start.as_microsecond()), place(end_of(span)));
    (0..BAR).map(|at| if (from..=to).contains(&at) { '█' } else { '·' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::LineageReport;

    fn span(id: &str, parent: &str, depth: u32, kind: SpanKind, outcome: Outcome) -> Span {
        Span {
            parent_id: EventId(parent.into()),
            depth,
            ..Span::new(EventId(id.into()), "ms", kind, outcome)
        }
    }

    fn root(outcome: Outcome) -> Span {
        span("r", "", 0, SpanKind::Http, outcome)
    }

    #[test]
    fn an_end_takes_the_place_of_running_whatever_comes_first() {
        let id = EventId("r".into());
        let running = LineageReport::begun(id.clone(), vec![root(Outcome::Running)]);
        // As a worker reports it: the child names neither the event nor its own whole id.
        let ended = LineageReport::ended(
            id.clone(),
            vec![root(Outcome::Ok), span(":1", ":", 1, SpanKind::Call, Outcome::Ok)],
            Some("d1"),
        );
        assert_ne!(running.id, ended.id);
        let (running, ended) = (running.into_spans(), ended.into_spans());
        assert_eq!((ended[1].event_id.0.as_str(), ended[1].parent_id.0.as_str()), ("r:1", "r"));
        assert!(Tree::new(id.clone(), running.clone(), Vec::new(), Vec::new()).is_running());
        for spans in [[running.clone(), ended.clone()].concat(), [ended, running].concat()] {
            let tree = Tree::new(id.clone(), spans, Vec::new(), Vec::new());
            assert_eq!(
                (tree.spans().len(), tree.is_running(), tree.orphans().len()),
                (2, false, 0)
            );
        }
    }

    #[test]
    fn what_runs_long_after_its_deadline_is_unknown() {
        let at = |seconds_ago| Timestamp::now() - SignedDuration::from_secs(seconds_ago);
        for (deadline, outcome) in [
            (None, Outcome::Running),
            (Some(at(1)), Outcome::Running),
            (Some(at(3600)), Outcome::Unknown),
        ] {
            let running = Span { deadline, ..root(Outcome::Running) };
            let tree = Tree::new(EventId("r".into()), vec![running], Vec::new(), Vec::new());
            assert_eq!(
                (tree.spans()[0].outcome, tree.is_running()),
                (outcome, outcome == Outcome::Running)
            );
        }
    }

    #[test]
    fn a_node_whose_parent_is_missing_is_shown_and_counted() {
        let spans = vec![span("c", "gone", 1, SpanKind::Call, Outcome::Ok)];
        let tree = Tree::new(EventId("r".into()), spans, Vec::new(), Vec::new());
        assert_eq!(tree.orphans().len(), 1);
        assert!(tree.to_text().contains("call  ok"), "{}", tree.to_text());
        assert_eq!(tree.to_json()["tree"][0]["event_id"], "c");
    }

    #[test]
    fn a_chain_of_any_length_and_a_circle_are_shown() {
        let id = |number: usize| if number == 0 { "r".to_owned() } else { format!("e{number}") };
        let mut spans = vec![root(Outcome::Ok)];
        spans.extend(
            (1..5000)
                .map(|number| span(&id(number), &id(number - 1), 1, SpanKind::Amqp, Outcome::Ok)),
        );
        spans.extend(
            [("x", "y"), ("y", "x"), ("z", "z")]
                .map(|(a, b)| span(a, b, 1, SpanKind::Amqp, Outcome::Ok)),
        );
        let tree = Tree::new(EventId("r".into()), spans, Vec::new(), Vec::new());
        let (text, json) = (tree.to_text(), tree.to_json().to_string());
        for event in ["r", "e61", "e4999", "x", "y", "z"] {
            assert!(json.contains(&format!("\"event_id\":\"{event}\"")), "{event}");
        }
        assert_eq!(text.lines().count(), 1 + 5003);
        assert!(
            serde_json::from_str::<Value>(&json).is_ok(),
            "of no more levels than a reader takes"
        );
    }

    #[test]
    fn the_text_is_a_tree_with_bars() {
        let spans = vec![
            root(Outcome::Ok),
            span("a", "r", 1, SpanKind::Call, Outcome::Failed),
            span("b", "r", 1, SpanKind::Retry, Outcome::Ok),
            span("c", "a", 2, SpanKind::Log, Outcome::Ok),
        ];
        let tree = Tree::new(EventId("r".into()), spans, Vec::new(), Vec::new());
        let text = tree.to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].starts_with("├─ call  failed") && lines[3].starts_with("│  └─ log  ok"),
            "{text}"
        );
        assert!(lines[4].starts_with("└─ retry  ok") && lines[4].contains('█'), "{text}");
        assert!(tree.to_dot().contains("\"r\" -> \"a\";"));
    }
}
