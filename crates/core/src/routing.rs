//! The words that decide where an event goes: [`Operation`], [`Store`], the two families of stores, and [`RoutingKey`].
//!
//! Not here: exchanges and queues (`transport::topology`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Create,
    /// One record by id, or a named fetch where `fetch` is given.
    Fetch,
    /// A page of the default listing.
    List,
    Update,
    Delete,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Fetch => "fetch",
            Operation::List => "list",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }

    pub fn is_write(self) -> bool {
        matches!(self, Operation::Create | Operation::Update | Operation::Delete)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The two families of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Documents: MongoDB.
    Rec,
    /// Relations: MariaDB.
    Rel,
}

impl Store {
    pub const ALL: [Store; 2] = [Store::Rec, Store::Rel];

    pub fn as_str(self) -> &'static str {
        match self {
            Store::Rec => "rec",
            Store::Rel => "rel",
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The routing keys of `beds.events`. Each is bound to exactly one queue of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoutingKey {
    RecRead,
    RecWrite,
    RelRead,
    RelWrite,
}

impl RoutingKey {
    pub const ALL: [RoutingKey; 4] =
        [RoutingKey::RecRead, RoutingKey::RecWrite, RoutingKey::RelRead, RoutingKey::RelWrite];

    pub fn new(store: Store, is_write: bool) -> Self {
        match (store, is_write) {
            (Store::Rec, false) => RoutingKey::RecRead,
            (Store::Rec, true) => RoutingKey::RecWrite,
            (Store::Rel, false) => RoutingKey::RelRead,
            (Store::Rel, true) => RoutingKey::RelWrite,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RoutingKey::RecRead => "rec.read",
            RoutingKey::RecWrite => "rec.write",
            RoutingKey::RelRead => "rel.read",
            RoutingKey::RelWrite => "rel.write",
        }
    }

    pub fn store(self) -> Store {
        match self {
            RoutingKey::RecRead | RoutingKey::RecWrite => Store::Rec,
            RoutingKey::RelRead | RoutingKey::RelWrite => Store::Rel,
        }
    }

    pub fn is_write(self) -> bool {
        matches!(self, RoutingKey::RecWrite | RoutingKey::RelWrite)
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The streams of reports through `beds.logs`. Each stream has a queue and a template of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReportStream {
    Log,
    Audit,
    Lineage,
    Metrics,
}

impl ReportStream {
    pub const ALL: [ReportStream; 4] =
        [ReportStream::Log, ReportStream::Audit, ReportStream::Lineage, ReportStream::Metrics];

    /// The queue, and the first word of the routing key; the node's name is the second.
    pub fn as_str(self) -> &'static str {
        match self {
            ReportStream::Log => "log",
            ReportStream::Audit => "audit",
            ReportStream::Lineage => "lineage",
            ReportStream::Metrics => "metrics",
        }
    }

    /// The template of the signed ends of audit chains, which travel with the audit records.
    pub const AUDIT_HEADS: &str = "AuditHeads";

    /// True for a template that only nodes write, through `beds.logs`: a caller that could would write the trail.
    pub fn is_written_by_nodes(template: &str) -> bool {
        template == Self::AUDIT_HEADS || Self::ALL.iter().any(|stream| stream.template() == template)
    }

    /// The template that stores the records.
    pub fn template(self) -> &'static str {
        match self {
            ReportStream::Log => "Logs",
            ReportStream::Audit => "Audit",
            ReportStream::Lineage => "Lineage",
            ReportStream::Metrics => "Metrics",
        }
    }
}

impl fmt::Display for ReportStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
