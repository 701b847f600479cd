//! The rows that were rejected, kept in a file with the reason, one JSON object a line. A load that goes on adds to what it
//! left; each row stands once.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use beds_core::BedsError;
use serde_json::Value;

use super::rows::Row;

pub(super) struct Rejects {
    path: PathBuf,
    file: Option<File>,
    rows: BTreeSet<usize>,
}

impl Rejects {
    /// Those of an earlier run count if the load goes on where that one ended; a load from the first row begins anew.
    pub(super) fn open(path: &Path, goes_on: bool) -> Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) if goes_on => text,
            Ok(_) => {
                std::fs::remove_file(path).map_err(|e| format!("cannot remove {}: {e}", path.display()))?;
                String::new()
            }
            Err(_) => String::new(),
        };
        let row = |line: &str| serde_json::from_str::<Value>(line).ok()?["row"].as_u64();
        let rows = text.lines().filter_map(row).filter_map(|row| usize::try_from(row).ok()).collect();
        Ok(Self { path: path.to_owned(), file: None, rows })
    }

    pub(super) fn add(&mut self, row: &Row, error: &BedsError) -> Result<(), String> {
        if !self.rows.insert(row.number) {
            return Ok(());
        }
        let failed = |e: std::io::Error| format!("cannot write {}: {e}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened = OpenOptions::new().create(true).append(true).open(&self.path).map_err(failed)?;
                self.file.insert(opened)
            }
        };
        let line = serde_json::json!({
            "row": row.number,
            "code": error.code(),
            "reason": error.message,
            "field": error.field,
            "record": row.fields.as_ref().ok(),
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
