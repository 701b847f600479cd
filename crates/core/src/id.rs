//! [`EventId`]: the id of an event, of its children, and of the records about it.
//!
//! Not here: the event itself (event.rs).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::outcome::Outcome;

/// `"{node}.{env}.{uuid v7, no dashes}"`, such as `ms.production.0193…`. Empty where there is no event (a root's parent).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub String);

impl EventId {
    /// True for the empty id in the place of a root's parent.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of a step of an event on its way, such as its second call. `what` is unique within the event.
    pub fn child(&self, what: impl fmt::Display) -> Self {
        Self(format!("{}{}{what}", self.0, Self::CHILD))
    }

    /// True for a step of an event on its way.
    pub fn is_child(&self) -> bool {
        self.0.contains(Self::CHILD)
    }

    /// The event itself, as an id in its own lineage record names it.
    pub fn of_same_record() -> Self {
        Self(Self::CHILD.into())
    }

    /// Puts the event in front of an id that begins with the mark of a child.
    pub fn make_absolute(&mut self, event: &str) {
        if let Some(what) = self.0.strip_prefix(Self::CHILD) {
            self.0 = if what.is_empty() { event.to_owned() } else { format!("{event}{}", self.0) };
        }
    }

    /// The event that a child's id belongs to; the id itself if it is an event's.
    pub fn of_child(id: &str) -> &str {
        id.split(Self::CHILD).next().unwrap_or(id)
    }

    /// Between an event's id and the name of its child.
    pub const CHILD: char = ':';

    /// When the id was made, in milliseconds, where it ends in a UUID of version 7.
    pub fn issued_at(&self) -> Option<Timestamp> {
        let uuid = Uuid::try_parse(self.0.rsplit('.').next()?).ok()?;
        let (seconds, nanoseconds) = uuid.get_timestamp()?.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
    }

    /// A new id for an event that begins on this node.
    pub fn new(node: &str, environment: &str) -> Self {
        // The time in a UUID of version 7 says later how old a write is (issued_at).
        Self(format!("{node}.{environment}.{}", Uuid::now_v7().simple()))
    }

    /// The id of a record about this event. A publisher chooses its events' ids, so two messages may have the same one; the
    /// digests tell their records apart. An event that failed at first and succeeded when it was handed out again has two
    /// records.
    pub fn record(&self, outcome: Outcome, digest: Option<&str>) -> Self {
        match digest {
            None => self.child(outcome.as_str()),
            Some(digest) => self.child(format_args!("{}.{digest}", outcome.as_str())),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
