//! The words that decide where an event goes: [`Operation`], [`Store`], the two families of stores, and [`RoutingKey`].
//!
//! Not here: exchanges and queues (`transport::topology`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text::is_name;

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
    /// A job of a template. Only with a ticket.
    Job,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "create",
            Operation::Fetch => "fetch",
            Operation::List => "list",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Job => "job",
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

/// The database whose queues take the seed's four keys too (`rel.write` for `rel.write.main`).
pub const MAIN_DATABASE: &str = "main";

/// The queue of requests for tickets.
pub const TICKETS_QUEUE: &str = "calgon";

/// A routing key of `beds.events`, such as `rel.write.main`. It is bound to exactly one queue, of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoutingKey {
    store: Store,
    is_write: bool,
    text: Arc<str>,
}

impl RoutingKey {
    /// The key of a database's reads or writes.
    pub fn new(store: Store, is_write: bool, database: &str) -> Self {
        Self { store, is_write, text: format!("{}.{database}", seed_key(store, is_write)).into() }
    }

    /// The key of requests for tickets, which are kept in a database of their own.
    pub fn tickets() -> Self {
        Self { store: Store::Rec, is_write: true, text: TICKETS_QUEUE.into() }
    }

    /// True for [`RoutingKey::tickets`].
    pub fn is_of_tickets(&self) -> bool {
        &*self.text == TICKETS_QUEUE
    }

    /// Reads a key with the name of its database. None for another text, and for a key of the seed.
    pub fn parse(text: &str) -> Option<Self> {
        if text == TICKETS_QUEUE {
            return Some(Self::tickets());
        }
        let keys = Store::ALL.into_iter().flat_map(|store| [(store, false), (store, true)]);
        keys.into_iter().find_map(|(store, is_write)| {
            let database = text.strip_prefix(seed_key(store, is_write))?.strip_prefix('.')?;
            is_name(database).then(|| Self::new(store, is_write, database))
        })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn store(&self) -> Store {
        self.store
    }

    pub fn is_write(&self) -> bool {
        self.is_write
    }

    pub fn database(&self) -> &str {
        if self.is_of_tickets() {
            return TICKETS_DATABASE;
        }
        &self.text[seed_key(self.store, self.is_write).len() + 1..]
    }

    /// The seed's key that means the same; only the database [`MAIN_DATABASE`] has one.
    pub fn seed_key(&self) -> Option<&'static str> {
        (self.database() == MAIN_DATABASE).then(|| seed_key(self.store, self.is_write))
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The four keys of the seed.
pub const SEED_KEYS: [&str; 4] = ["rec.read", "rec.write", "rel.read", "rel.write"];

fn seed_key(store: Store, is_write: bool) -> &'static str {
    match (store, is_write) {
        (Store::Rec, false) => "rec.read",
        (Store::Rec, true) => "rec.write",
        (Store::Rel, false) => "rel.read",
        (Store::Rel, true) => "rel.write",
    }
}

/// The MongoDB database of tickets and their results.
pub const TICKETS_DATABASE: &str = "beds";
/// The templates of tickets, and of the pieces of their results.
pub const TICKETS: &str = "Tickets";
pub const TICKET_RESULTS: &str = "TicketResults";

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

    /// True for a template that only nodes write: a caller that could would write the trail, or the ticket of another.
    pub fn is_written_by_nodes(template: &str) -> bool {
        matches!(template, Self::AUDIT_HEADS | TICKETS | TICKET_RESULTS)
            || Self::ALL.iter().any(|stream| stream.template() == template)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_database_and_only_main_has_the_keys_of_the_seed() {
        let key = RoutingKey::new(Store::Rel, true, "main");
        assert_eq!(
            (key.as_str(), key.database(), key.seed_key()),
            ("rel.write.main", "main", Some("rel.write"))
        );
        let other = RoutingKey::parse("rec.read.msLogs").unwrap();
        assert_eq!(
            (other.store(), other.is_write(), other.database()),
            (Store::Rec, false, "msLogs")
        );
        assert_eq!(other.seed_key(), None);
        let seed: Vec<_> =
            Store::ALL.into_iter().flat_map(|s| [seed_key(s, false), seed_key(s, true)]).collect();
        assert_eq!(seed, SEED_KEYS);
        for text in
            ["rel.write", "rel.write.", "rel.write.a.b", "rel.writes.a", "log", "", "rel.write.ä"]
        {
            assert_eq!(RoutingKey::parse(text), None, "{text}");
        }
    }
}
