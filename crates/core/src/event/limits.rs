//! The limits of an envelope: lengths of ids and names, and characters that they must not hold.
//!
//! Not here: the rules of an envelope besides (../event.rs), the size of a message (crate broker).

use crate::text::is_unseen;
use crate::{BedsError, ErrorKind, Event, EventId, Result};

use super::{MAX_ID_BYTES, MAX_NAME_BYTES};

impl Event {
    /// Limits the ids and names of an event, because they are copied into lineage and audit records.
    pub(super) fn check_lengths(&self) -> Result<()> {
        let fits = [
            ("event_id", self.event_id.0.len(), 1..=MAX_ID_BYTES),
            ("root_id", self.root_id.0.len(), 1..=MAX_ID_BYTES),
            ("parent_id", self.parent_id.0.len(), 0..=MAX_ID_BYTES),
            ("replay_of", self.replay_of.as_ref().map_or(0, |id| id.0.len()), 0..=MAX_ID_BYTES),
            ("template", self.template.len(), 1..=MAX_NAME_BYTES),
            ("fetch", self.fetch.as_ref().map_or(0, String::len), 0..=MAX_NAME_BYTES),
            ("job", self.job.as_ref().map_or(0, String::len), 0..=MAX_NAME_BYTES),
            (
                "origin.address",
                self.origin.as_ref().map_or(0, |origin| origin.address.len()),
                0..=MAX_NAME_BYTES,
            ),
        ];
        if let Some((name, _, range)) =
            fits.iter().find(|(_, length, range)| !range.contains(length))
        {
            let text = format!("{name} must have {} to {} bytes", range.start(), range.end());
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        if let Some(text) = self.actor.excess() {
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        let texts = [
            ("event_id", Some(&self.event_id.0)),
            ("root_id", Some(&self.root_id.0)),
            ("parent_id", Some(&self.parent_id.0)),
            ("replay_of", self.replay_of.as_ref().map(|id| &id.0)),
            ("template", Some(&self.template)),
            ("fetch", self.fetch.as_ref()),
            ("job", self.job.as_ref()),
            ("actor.subject", Some(&self.actor.subject)),
            ("origin.address", self.origin.as_ref().map(|origin| &origin.address)),
        ];
        let is_unseen = |text: &Option<&String>| text.is_some_and(|text| text.contains(is_unseen));
        if let Some((name, _)) = texts.iter().find(|(_, text)| is_unseen(text)) {
            return Err(BedsError::new(
                ErrorKind::BadEvent,
                format!("{name} must have no control characters, and none without a shape"),
            ));
        }
        if self.event_id.is_child() || self.root_id.is_child() || self.parent_id.is_child() {
            let text = format!(
                "ids of events must not contain {:?}, which marks steps within an event",
                EventId::CHILD
            );
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        Ok(())
    }
}
