//! [`Change`]: word of a write that took effect: which record of which template, and which of its fields. It holds no value of a record
//! but those by which its readers are chosen.
//!
//! Not here: the rules of a template (template/changes.rs), the way of a change through RabbitMQ (crates broker and transport).

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The version of the form of a change.
pub const CHANGE_VERSION: u8 = 1;

/// One change. Its form is a public interface (docs/live.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub v: u8,
    /// `<event id>:<number>`: the same when it is told again.
    pub id: String,
    /// Rises with each change of a record, within one database.
    #[serde(default)]
    pub seq: u64,
    pub template: String,
    pub operation: ChangeKind,
    /// The record's id; none where several records changed.
    #[serde(default)]
    pub record: Option<String>,
    /// Names of the fields that were sent.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The values of the record by which its readers are chosen, by the names of its fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scope: BTreeMap<String, String>,
    pub at: Timestamp,
    #[serde(default)]
    pub event_id: String,
    #[serde(default)]
    pub root_id: String,
}

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Create,
    Update,
    Delete,
    /// The record came into the scope of these readers by an update.
    Enter,
    /// The record left it by an update.
    Leave,
    /// More than one record changed, and it is not told which.
    Many,
}

impl ChangeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Create => "create",
            ChangeKind::Update => "update",
            ChangeKind::Delete => "delete",
            ChangeKind::Enter => "enter",
            ChangeKind::Leave => "leave",
            ChangeKind::Many => "many",
        }
    }
}

/// An answer of a [`ChangeFeed`].
#[derive(Debug)]
pub enum Fed {
    /// In the order in which they are to be published; none where there are none now.
    Changes(Vec<Change>),
    /// Changes were lost for the feed, which goes on behind them.
    Gap,
}

/// The changes of one database that are not published yet, for the one task that publishes them.
#[async_trait]
pub trait ChangeFeed: Send {
    /// The next changes, which come again until they are [`ChangeFeed::done`]. Waits for some, for about a fifth of a second.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn next(&mut self) -> Result<Fed>;

    /// The answer that [`ChangeFeed::next`] gave is published.
    ///
    /// # Errors
    /// The database cannot be told, so that the changes come again.
    async fn done(&mut self) -> Result<()>;
}
