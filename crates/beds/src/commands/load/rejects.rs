//! The rows that were rejected, kept in a file with the reason, one JSON object a line. A load that goes on adds to its
//! rejects; each row stands once. The file of another load is left alone.
//!
//! Not here: which rows are rejected, which is the parent's.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use beds_core::BedsError;
use serde_json::Value;

use super::rows::Row;
use crate::private;

pub(super) struct Rejects {
    path: PathBuf,
    file: Option<File>,
    rows: BTreeSet<usize>,
}

impl Rejects {
    /// The file of a load that goes on, with its content; or one that is not there yet.
    pub(super) fn open(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let row = |line: &str| serde_json::from_str::<Value>(line).ok()?["row"].as_u64();
        let rows =
            text.lines().filter_map(row).filter_map(|row| usize::try_from(row).ok()).collect();
        Self { path: path.to_owned(), file: None, rows }
    }

    /// The first of `NAME.rejects.ndjson`, `NAME.rejects.2.ndjson` and so on that is not there.
    pub(super) fn free_name(folder: &Path, name: &str) -> String {
        let numbered = |number: u32| match number {
            1 => format!("{name}.rejects.ndjson"),
            number => format!("{name}.rejects.{number}.ndjson"),
        };
        (1..u32::MAX)
            .map(numbered)
            .find(|file| !folder.join(file).exists())
            .unwrap_or_else(|| numbered(1))
    }

    /// Keeps a row with its text as it stands in the file, which may begin with empty lines.
    pub(super) fn add(&mut self, row: &Row, text: &str, error: &BedsError) -> Result<(), String> {
        let begin = text.len() - text.trim_start_matches(['\r', '\n']).len();
        let skipped = text[..begin].matches('\n').count() as u64;
        let text = text.trim_matches(['\r', '\n']);
        if !self.rows.insert(row.number) {
            return Ok(());
        }
        let failed = |e: std::io::Error| format!("cannot write {}: {e}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened = private::append(&self.path).map_err(failed)?;
                self.file.insert(opened)
            }
        };
        let line = serde_json::json!({
            "row": row.number,
            // The reader counts from the end of the row before, empty lines included.
            "line": row.line + skipped,
            "code": error.code(),
            "reason": error.message,
            "field": error.field,
            "record": row.fields.as_ref().ok(),
            "text": text,
        });
        writeln!(file, "{line}").map_err(failed)
    }

    /// How many rows of the file were rejected, in this run or before.
    pub(super) fn number(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
