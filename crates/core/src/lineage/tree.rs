//! [`Tree`]: everything that came of one root event, put together from the records, and shown as JSON, text or Graphviz.
//! Where the records come from is the caller's.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{LineageNode, NodeKind, Outcome};
use crate::audit::SealedRecord;
use crate::text::one_line;
use crate::{BedsError, ErrorKind, EventId, Result};

/// Width of the bars that show the time of a node, in characters.
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
    nodes: Vec<LineageNode>,
    /// Positions of the children that are shown below each node.
    children: Vec<Vec<usize>>,
    /// Positions of the nodes at the left margin: the root, nodes without a parent here, and nodes too deep below theirs.
    tops: Vec<usize>,
}

impl Tree {
    /// Puts the nodes of one root together. A node that was reported twice stands once, and an end takes the place of
    /// "running".
    pub fn new(root_id: EventId, reported: Vec<LineageNode>, audit: Vec<SealedRecord>, logs: Vec<LineageNode>) -> Self {
        let mut by_id: BTreeMap<EventId, LineageNode> = BTreeMap::new();
        let audit = audit.into_iter().filter_map(|sealed| node_of(&sealed));
        for node in reported.into_iter().chain(audit).chain(logs) {
            match by_id.get(&node.event_id) {
                Some(known) if rank(known.outcome) >= rank(node.outcome) => {}
                _ => drop(by_id.insert(node.event_id.clone(), node)),
            }
        }
        let now = Timestamp::now();
        let is_lost = |node: &LineageNode| {
            let lost_at = node.deadline.and_then(|deadline| deadline.checked_add(LOST_AFTER).ok());
            node.outcome == Outcome::Running && lost_at.is_some_and(|at| at < now)
        };
        let mut nodes: Vec<LineageNode> = by_id.into_values().collect();
        nodes.iter_mut().filter(|node| is_lost(node)).for_each(|node| node.outcome = Outcome::Unknown);
        nodes.sort_by_key(|node| (node.depth, node.start));
        let (children, tops) = arrange(&nodes);
        Self { root_id, nodes, children, tops }
    }

    pub fn root_id(&self) -> &EventId {
        &self.root_id
    }

    pub fn nodes(&self) -> &[LineageNode] {
        &self.nodes
    }

    /// Nodes whose parent is not in the tree: their records are on the way, or were dropped.
    pub fn orphans(&self) -> Vec<&LineageNode> {
        let known: HashSet<&EventId> = self.nodes.iter().map(|node| &node.event_id).collect();
        self.nodes.iter().filter(|node| !node.parent_id.is_none() && !known.contains(&node.parent_id)).collect()
    }

    pub fn is_running(&self) -> bool {
        self.nodes.iter().any(|node| node.outcome == Outcome::Running)
    }

    /// `{"root_id":…,"running":false,"tree":[{…,"children":[…]}]}`
    pub fn to_json(&self) -> Value {
        let tree: Vec<Value> = self.tops.iter().map(|position| self.branch(*position)).collect();
        json!({ "root_id": self.root_id, "running": self.is_running(), "tree": tree })
    }

    /// One line a node, with a bar that shows when it ran.
    pub fn to_text(&self) -> String {
        let mut rows = Vec::new();
        for top in &self.tops {
            self.rows(*top, "", "", &mut rows);
        }
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let (begin, end) = self.span();
        let mut text = format!("{}{}\n", self.root_id, if self.is_running() { "  (still running)" } else { "" });
        for (label, position) in rows {
            let node = &self.nodes[position];
            let pad = width - label.chars().count();
            text.push_str(&format!("{label}{:pad$}  {}", "", bar(node, begin, end)));
            match node.duration_us {
                Some(us) => text.push_str(&format!("  {:>9.3} ms\n", us as f64 / 1000.0)),
                None => text.push('\n'),
            }
        }
        text
    }

    /// For Graphviz: `beds lineage ID --format dot | dot -Tsvg`.
    pub fn to_dot(&self) -> String {
        let mut text = "digraph lineage {\n  node [shape=box, fontname=monospace];\n".to_owned();
        for node in &self.nodes {
            text.push_str(&format!("  {:?} [label={:?}];\n", node.event_id.0, label(node)));
            if !node.parent_id.is_none() {
                text.push_str(&format!("  {:?} -> {:?};\n", node.parent_id.0, node.event_id.0));
            }
        }
        text.push_str("}\n");
        text
    }

    fn branch(&self, position: usize) -> Value {
        let node = &self.nodes[position];
        let mut value = serde_json::to_value(node).unwrap_or_default();
        value["children"] = self.children[position].iter().map(|child| self.branch(*child)).collect();
        value
    }

    fn rows(&self, position: usize, first: &str, rest: &str, rows: &mut Vec<(String, usize)>) {
        let node = &self.nodes[position];
        rows.push((format!("{first}{}", label(node)), position));
        let children = &self.children[position];
        for (number, child) in children.iter().enumerate() {
            let is_last = number + 1 == children.len();
            let (knee, stem) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.rows(*child, &format!("{rest}{knee}"), &format!("{rest}{stem}"), rows);
        }
    }

    /// Begin and end of the whole tree, in microseconds.
    fn span(&self) -> (i64, i64) {
        let begin = self.nodes.iter().map(|node| node.start.as_microsecond()).min().unwrap_or(0);
        (begin, self.nodes.iter().map(end_of).max().unwrap_or(begin).max(begin + 1))
    }
}

/// The children of each node, and the tops. A publisher names the parents of its events, so the chain may be of any length,
/// or a circle: each [`DEEPEST`] levels a new top begins, and each node is below one.
fn arrange(nodes: &[LineageNode]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let places: HashMap<&EventId, usize> = nodes.iter().enumerate().map(|(at, node)| (&node.event_id, at)).collect();
    let parents: Vec<Option<usize>> = nodes.iter().map(|node| places.get(&node.parent_id).copied()).collect();
    let mut below = vec![Vec::new(); nodes.len()];
    for (at, parent) in parents.iter().enumerate() {
        parent.iter().for_each(|parent| below[*parent].push(at));
    }
    let (mut children, mut tops) = (vec![Vec::new(); nodes.len()], Vec::new());
    let mut is_placed = vec![false; nodes.len()];
    // Nodes with a parent are looked at last: it is only then without a place if it is in a circle.
    let mut starts: Vec<usize> = (0..nodes.len()).collect();
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

/// A line of the log as a node of the tree.
pub fn log_node(id: EventId, parent: EventId, depth: u32, node: &str, message: String) -> LineageNode {
    LineageNode {
        parent_id: parent,
        depth,
        object: Some(message),
        ..LineageNode::new(id, node, NodeKind::Log, Outcome::Ok)
    }
}

/// The error for an id that no record knows.
pub fn unknown(id: &str) -> BedsError {
    let id = crate::text::quote(id);
    let text = format!("there is no lineage of {id}; records arrive when a node with services.admin has stored them");
    BedsError::new(ErrorKind::NoSuchRecord, text)
}

/// Reads stored records. One that cannot be read is an internal error: the schema is BEDS's.
pub fn read<T: serde::de::DeserializeOwned>(
    texts: impl IntoIterator<Item = Box<serde_json::value::RawValue>>,
) -> Result<Vec<T>> {
    let broken = |e| BedsError::new(ErrorKind::Internal, "a stored record cannot be read").with_source(e);
    texts.into_iter().map(|text| serde_json::from_str(text.get()).map_err(broken)).collect()
}

fn node_of(sealed: &SealedRecord) -> Option<LineageNode> {
    let record = sealed.open()?;
    Some(LineageNode {
        parent_id: record.about,
        depth: record.depth,
        object: Some(format!("{} {}", sealed.chain, sealed.seq)),
        start: record.at,
        ..LineageNode::new(sealed.id.clone(), &record.node, NodeKind::Audit, Outcome::Ok)
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

fn label(node: &LineageNode) -> String {
    let kind = serde_json::to_value(node.kind).unwrap_or_default();
    let mut text = kind.as_str().unwrap_or_default().replace('_', " ");
    if !node.template.is_empty() {
        let operation = node.operation.map(|operation| format!(".{operation}")).unwrap_or_default();
        text.push_str(&format!(" {}{operation}", node.template));
    }
    if let Some(object) = &node.object {
        text.push_str(&format!(" {object}"));
    }
    let outcome = serde_json::to_value(node.outcome).unwrap_or_default();
    text.push_str(&format!("  {}", outcome.as_str().unwrap_or_default()));
    if let Some(code) = &node.code {
        text.push_str(&format!(" {code}"));
    }
    one_line(&text)
}

fn end_of(node: &LineageNode) -> i64 {
    let duration = i64::try_from(node.duration_us.unwrap_or(0)).unwrap_or(0);
    node.start.as_microsecond().saturating_add(duration)
}

fn bar(node: &LineageNode, begin: i64, end: i64) -> String {
    let place = |at: i64| {
        let share = (at - begin) as f64 / (end - begin) as f64;
        ((share * BAR as f64) as usize).min(BAR - 1)
    };
    let (from, to) = (place(node.start.as_microsecond()), place(end_of(node)));
    (0..BAR).map(|at| if (from..=to).contains(&at) { '█' } else { '·' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::LineageRecord;
    use super::*;

    fn node(id: &str, parent: &str, depth: u32, kind: NodeKind, outcome: Outcome) -> LineageNode {
        LineageNode {
            parent_id: EventId(parent.into()),
            depth,
            ..LineageNode::new(EventId(id.into()), "ms", kind, outcome)
        }
    }

    fn root(outcome: Outcome) -> LineageNode {
        node("r", "", 0, NodeKind::Http, outcome)
    }

    #[test]
    fn an_end_takes_the_place_of_running_whatever_comes_first() {
        let id = EventId("r".into());
        let running = LineageRecord::begun(id.clone(), vec![root(Outcome::Running)]);
        // As a worker reports it: the child names neither the event nor its own whole id.
        let ended = LineageRecord::ended(
            id.clone(),
            vec![root(Outcome::Ok), node(":1", ":", 1, NodeKind::Call, Outcome::Ok)],
            Some("d1"),
        );
        assert_ne!(running.id, ended.id);
        let (running, ended) = (running.into_nodes(), ended.into_nodes());
        assert_eq!((ended[1].event_id.0.as_str(), ended[1].parent_id.0.as_str()), ("r:1", "r"));
        assert!(Tree::new(id.clone(), running.clone(), Vec::new(), Vec::new()).is_running());
        for nodes in [[running.clone(), ended.clone()].concat(), [ended, running].concat()] {
            let tree = Tree::new(id.clone(), nodes, Vec::new(), Vec::new());
            assert_eq!((tree.nodes().len(), tree.is_running(), tree.orphans().len()), (2, false, 0));
        }
    }

    #[test]
    fn what_runs_long_after_its_deadline_is_unknown() {
        let at = |seconds_ago| Timestamp::now() - SignedDuration::from_secs(seconds_ago);
        for (deadline, outcome) in
            [(None, Outcome::Running), (Some(at(1)), Outcome::Running), (Some(at(3600)), Outcome::Unknown)]
        {
            let running = LineageNode { deadline, ..root(Outcome::Running) };
            let tree = Tree::new(EventId("r".into()), vec![running], Vec::new(), Vec::new());
            assert_eq!((tree.nodes()[0].outcome, tree.is_running()), (outcome, outcome == Outcome::Running));
        }
    }

    #[test]
    fn a_node_whose_parent_is_missing_is_shown_and_counted() {
        let nodes = vec![node("c", "gone", 1, NodeKind::Call, Outcome::Ok)];
        let tree = Tree::new(EventId("r".into()), nodes, Vec::new(), Vec::new());
        assert_eq!(tree.orphans().len(), 1);
        assert!(tree.to_text().contains("call  ok"), "{}", tree.to_text());
        assert_eq!(tree.to_json()["tree"][0]["event_id"], "c");
    }

    #[test]
    fn a_chain_of_any_length_and_a_circle_are_shown() {
        let id = |number: usize| if number == 0 { "r".to_owned() } else { format!("e{number}") };
        let mut nodes = vec![root(Outcome::Ok)];
        nodes.extend((1..5000).map(|number| node(&id(number), &id(number - 1), 1, NodeKind::Amqp, Outcome::Ok)));
        nodes.extend([("x", "y"), ("y", "x"), ("z", "z")].map(|(a, b)| node(a, b, 1, NodeKind::Amqp, Outcome::Ok)));
        let tree = Tree::new(EventId("r".into()), nodes, Vec::new(), Vec::new());
        let (text, json) = (tree.to_text(), tree.to_json().to_string());
        for event in ["r", "e61", "e4999", "x", "y", "z"] {
            assert!(json.contains(&format!("\"event_id\":\"{event}\"")), "{event}");
        }
        assert_eq!(text.lines().count(), 1 + 5003);
        assert!(serde_json::from_str::<Value>(&json).is_ok(), "of no more levels than a reader takes");
    }

    #[test]
    fn the_text_is_a_tree_with_bars() {
        let nodes = vec![
            root(Outcome::Ok),
            node("a", "r", 1, NodeKind::Call, Outcome::Failed),
            node("b", "r", 1, NodeKind::Retry, Outcome::Ok),
            node("c", "a", 2, NodeKind::Log, Outcome::Ok),
        ];
        let tree = Tree::new(EventId("r".into()), nodes, Vec::new(), Vec::new());
        let text = tree.to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("├─ call  failed") && lines[3].starts_with("│  └─ log  ok"), "{text}");
        assert!(lines[4].starts_with("└─ retry  ok") && lines[4].contains('█'), "{text}");
        assert!(tree.to_dot().contains("\"r\" -> \"a\";"));
    }
}
