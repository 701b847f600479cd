//! How far a load has come, kept in a file. Rows finish out of order; what is noted is the row up to which all are done.
//! A note that is too old only costs time, because a row takes effect once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const EVERY: Duration = Duration::from_millis(500);

pub(super) struct Checkpoint {
    path: PathBuf,
    note: Note,
    /// Finished beyond the note.
    ahead: BTreeSet<usize>,
    saved: Instant,
}

#[derive(Serialize, Deserialize)]
struct Note {
    /// Of the file's content.
    digest: String,
    /// Where the rows went: a note about another system says nothing about this one.
    address: String,
    done: usize,
}

impl Checkpoint {
    /// Opens the note of an earlier run. One about another content or another system does not count.
    pub(super) fn open(path: &Path, digest: &str, address: &str, restart: bool) -> Result<Self, String> {
        let path = path.to_owned();
        let kept = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Note>(&text).ok());
        let kept = kept.filter(|note| !restart && note.digest == digest && note.address == address);
        let note = kept.unwrap_or_else(|| Note { digest: digest.to_owned(), address: address.to_owned(), done: 0 });
        let mut checkpoint = Self { path, note, ahead: BTreeSet::new(), saved: Instant::now() };
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
        let text = serde_json::to_string(&self.note).unwrap_or_default();
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &self.path))
            .map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }
}
