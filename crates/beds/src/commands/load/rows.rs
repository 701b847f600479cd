//! The rows of a file: numbered, with their fields and their key. How they are sent is the parent's.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use beds_core::Fields;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One row. `fields` is an error where the row could not be read.
pub(super) struct Row {
    /// Counted from 1, without the header.
    pub(super) number: usize,
    pub(super) fields: Result<Fields, String>,
    /// The values are texts for the declared types (CSV), not typed values (NDJSON).
    pub(super) is_text: bool,
    pub(super) key: String,
}

/// The rows of a file, read as they are needed.
pub(super) struct Rows {
    source: Source,
    template: String,
    digest: String,
    count: usize,
    next: usize,
}

enum Source {
    Csv { reader: Box<csv::Reader<File>>, header: Vec<String> },
    Ndjson(Box<std::io::Lines<BufReader<File>>>),
}

impl Rows {
    /// Opens a file and counts its rows. The digest of its content is part of every row's key.
    pub(super) fn open(path: &Path, template: &str, limit: Option<usize>) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
        let digest = digest(path).map_err(|e| failed(&e))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let (source, count) = match extension {
            "csv" => {
                let open = || csv::ReaderBuilder::new().flexible(true).from_path(path);
                let count = open().map_err(|e| failed(&e))?.into_records().count();
                let mut reader = open().map_err(|e| failed(&e))?;
                let header = reader.headers().map_err(|e| failed(&e))?.iter().map(str::to_owned).collect();
                (Source::Csv { reader: Box::new(reader), header }, count)
            }
            "ndjson" | "jsonl" => {
                let open = || File::open(path).map(|file| BufReader::new(file).lines());
                let count = open().map_err(|e| failed(&e))?.count();
                (Source::Ndjson(Box::new(open().map_err(|e| failed(&e))?)), count)
            }
            _ => return Err(format!("{} ends neither in .csv nor in .ndjson", path.display())),
        };
        let count = limit.map_or(count, |limit| limit.min(count));
        Ok(Self { source, template: template.to_owned(), digest, count, next: 1 })
    }

    pub(super) fn total(&self) -> usize {
        self.count
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.next > self.count {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let (fields, is_text) = match &mut self.source {
            Source::Csv { reader, header } => {
                let mut record = csv::StringRecord::new();
                let fields = match reader.read_record(&mut record) {
                    Ok(false) => return None,
                    Ok(true) => fields_of(header, &record),
                    Err(error) => Err(error.to_string()),
                };
                (fields, true)
            }
            Source::Ndjson(lines) => {
                let fields = match lines.next()? {
                    Ok(line) => Fields::from_slice(line.as_bytes()).map_err(|e| e.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                (fields, false)
            }
        };
        let key = format!("load:{}:{}:{number}", self.template, &self.digest[..32]);
        Some(Row { number, fields, is_text, key })
    }
}

/// An empty cell is a field that was left out.
fn fields_of(header: &[String], record: &csv::StringRecord) -> Result<Fields, String> {
    if record.len() != header.len() {
        return Err(format!("the row has {} cells, the header has {}", record.len(), header.len()));
    }
    let cells = header.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
    Ok(cells.map(|(name, cell)| (name.clone(), Value::String(cell.to_owned()))).collect())
}

fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
