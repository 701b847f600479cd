//! How far a load has come, kept in a file. Rows finish out of order; it notes the row up to which all are done.
//! A note that is behind only costs time, because a row takes effect once for as long as the inbox remembers it.
//!
//! Not here: the work on a row (load.rs).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::private;

const EVERY: Duration = Duration::from_millis(500);

pub(super) struct Checkpoint {
    path: PathBuf,
    note: Note,
    /// Finished beyond the note.
    ahead: BTreeSet<usize>,
    saved: Instant,
}

/// The notes of a load.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Note {
    /// Of the file's content.
    pub(super) digest: String,
    /// Where the rows went: a note about another system says nothing about this one.
    pub(super) address: String,
    pub(super) done: usize,
    /// When the first of these rows was sent.
    #[serde(default = "long_ago")]
    pub(super) began: Timestamp,
    /// Part of the rows' keys, where this is not the first load of that content.
    #[serde(default)]
    pub(super) run: String,
    /// The file of the rejected rows, beside this one.
    #[serde(default)]
    pub(super) rejects: String,
}

/// A note that does not say when its load began is of an earlier release.
fn long_ago() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

impl Note {
    /// The note of an earlier load of the same content into the same system, if there is one.
    pub(super) fn read(path: &Path, digest: &str, address: &str) -> Option<Self> {
        let kept = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| serde_json::from_str::<Note>(&text).ok());
        kept.filter(|note| note.digest == digest && note.address == address)
    }
}

impl Checkpoint {
    /// Goes on from a note, and writes it.
    pub(super) fn begin(path: &Path, note: Note) -> Result<Self, String> {
        let mut checkpoint =
            Self { path: path.to_owned(), note, ahead: BTreeSet::new(), saved: Instant::now() };
        checkpoint.save()?;
        Ok(checkpoint)
    }

    /// Rows that need not be sent again.
    pub(super) fn done(&self) -> usize {
        self.note.done
    }

    pub(super) fn finish(&mut self, row: usize) -> Result<(), String> {
        self.ahead.insert(row);
        while self.ahead.remove(&(self.note.done + 1)) {
            self.note.done += 1;
        }
        if self.saved.elapsed() < EVERY { Ok(()) } else { self.save() }
    }

    /// Writes beside and renames, so that a kill leaves the old note or the new one.
    pub(super) fn save(&mut self) -> Result<(), String> {
        self.saved = Instant::now();
        let beside = self.path.with_extension("progress.new");
        let text = serde_json::to_string(&self.note).map_err(std::io::Error::other);
        text.and_then(|text| private::write(&beside, &text))
            .and_then(|()| std::fs::rename(&beside, &self.path))
            .map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }
}
