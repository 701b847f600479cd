//! The rows of a file: numbered, with their line, their text, their fields and their key.
//!
//! Not here: how they are sent, which is the parent's.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use beds_core::digest::hex;
use beds_core::text::what_is_wrong;
use beds_core::{BedsError, ErrorKind, Fields};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::scan::{Scan, scan};

/// The longest line of NDJSON. A row becomes one message, which RabbitMQ 4 takes up to 16 MiB.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// One row. `fields` is an error where the row could not be read.
pub(super) struct Row {
    /// Counted from 1, without the header and without empty lines.
    pub(super) number: usize,
    /// Of the file, where the row begins.
    pub(super) line: u64,
    /// Where it stands in the file, in bytes: the kept text of a rejected row is read again.
    pub(super) place: Place,
    pub(super) fields: Result<Fields, BedsError>,
    /// The values are texts for the declared types (CSV), not typed values (NDJSON).
    pub(super) is_text: bool,
    pub(super) key: String,
}

/// The rows of a file, read as they are needed.
pub(super) struct Rows {
    source: Source,
    keys: String,
    digest: String,
    count: usize,
    next: usize,
}

enum Source {
    Csv {
        reader: Box<csv::Reader<File>>,
        header: Vec<String>,
        scan: Scan,
    },
    /// With the number of the last line and where the next one begins.
    Ndjson {
        lines: BufReader<File>,
        line: u64,
        at: u64,
    },
}

/// The first byte of a row in its file, and the one behind its last.
type Place = (u64, u64);

/// The line of a row and its place; and its fields.
type WithPlace = ((u64, Place), Result<Fields, BedsError>);

impl Rows {
    /// Opens a file, refuses one that would be read otherwise than it was meant, and counts its rows. The digest of its
    /// content is part of every row's key.
    pub(super) fn open(path: &Path, template: &str, limit: Option<usize>) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot read {}: {e}", path.display());
        let digest = digest(path).map_err(|e| failed(&e))?;
        let extension =
            path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let open = || File::open(path).map_err(|e| failed(&e));
        let (source, count) = match extension.as_str() {
            "csv" => {
                let scan = scan(open()?).map_err(|e| format!("{}: {e}", path.display()))?;
                // Reads rows of any length: one with too few cells is rejected alone.
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(open()?);
                let header: Vec<String> =
                    reader.headers().map_err(|e| failed(&e))?.iter().map(str::to_owned).collect();
                check_header(&header).map_err(|e| format!("{}:1: {e}", path.display()))?;
                let rows = scan.rows;
                (Source::Csv { reader: Box::new(reader), header, scan }, rows)
            }
            "ndjson" | "jsonl" => {
                let mut rows =
                    Rows::of(Source::Ndjson { lines: BufReader::new(open()?), line: 0, at: 0 });
                let mut count = 0;
                while rows.line().map_err(|e| failed(&e))?.is_some() {
                    count += 1;
                }
                (Source::Ndjson { lines: BufReader::new(open()?), line: 0, at: 0 }, count)
            }
            _ => return Err(format!("{} ends neither in .csv nor in .ndjson", path.display())),
        };
        let count = limit.map_or(count, |limit| limit.min(count));
        let keys = format!("load:{template}:{}", &digest[..32]);
        Ok(Self { keys, digest, count, next: 1, ..Self::of(source) })
    }

    /// Gives the rows other keys than those of an earlier load of the same content.
    pub(super) fn of_run(mut self, run: &str) -> Self {
        if !run.is_empty() {
            self.keys = format!("{}:{run}", self.keys);
        }
        self
    }

    fn of(source: Source) -> Self {
        Self { source, keys: String::new(), digest: String::new(), count: 0, next: 1 }
    }

    pub(super) fn total(&self) -> usize {
        self.count
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// The next line of NDJSON with its number and place, as bytes; empty lines are passed over.
    fn line(&mut self) -> std::io::Result<Option<(u64, Place, Vec<u8>)>> {
        let Source::Ndjson { lines, line, at } = &mut self.source else { return Ok(None) };
        loop {
            let mut bytes = Vec::new();
            let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(None);
            }
            let begin = *at;
            *at += read as u64;
            *line += 1;
            if *line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
            while bytes.last().is_some_and(u8::is_ascii_whitespace) {
                bytes.pop();
            }
            if !bytes.is_empty() {
                return Ok(Some((*line, (begin, *at), bytes)));
            }
        }
    }

    fn ndjson(&mut self) -> Option<WithPlace> {
        match self.line() {
            Ok(None) => None,
            Err(error) => Some(((0, (0, 0)), Err(unreadable(error.to_string())))),
            Ok(Some((line, place, bytes))) => {
                let fields = Fields::from_slice(&bytes).map_err(|e| unreadable(what_is_wrong(&e)));
                let fields = fields.and_then(|fields| fields.check_exact().map(|()| fields));
                Some(((line, place), fields))
            }
        }
    }

    fn csv(&mut self, number: usize) -> Option<WithPlace> {
        let Source::Csv { reader, header, scan } = &mut self.source else { return None };
        let mut record = csv::ByteRecord::new();
        match reader.read_byte_record(&mut record) {
            Ok(false) => None,
            Err(error) => Some(((0, (0, 0)), Err(unreadable(error.to_string())))),
            Ok(true) => {
                let (line, begin) = record.position().map_or((0, 0), |at| (at.line(), at.byte()));
                let fields = match scan.torn.contains(&number) {
                    true => Err(unreadable("a text goes on behind its closing quote".to_owned())),
                    false => fields_of(header, &record),
                };
                Some(((line, (begin, reader.position().byte())), fields))
            }
        }
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
        let is_text = matches!(self.source, Source::Csv { .. });
        let ((line, place), fields) = if is_text { self.csv(number) } else { self.ndjson() }?;
        let key = format!("{}:{number}", self.keys);
        Some(Row { number, line, place, fields, is_text, key })
    }
}

/// A column without a name, or with that of another one, would be lost.
fn check_header(header: &[String]) -> Result<(), String> {
    for (position, name) in header.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(format!("column {} has no name in the header", position + 1));
        }
        if header[..position].contains(name) {
            return Err(format!("the name {name:?} stands twice in the header"));
        }
    }
    Ok(())
}

fn unreadable(text: String) -> BedsError {
    BedsError::new(ErrorKind::MalformedBody, text)
}

/// An empty cell is a field that was left out.
fn fields_of(header: &[String], record: &csv::ByteRecord) -> Result<Fields, BedsError> {
    if record.len() != header.len() {
        return Err(unreadable(format!(
            "the row has {} cells, the header has {}",
            record.len(),
            header.len()
        )));
    }
    let cells = header.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
    let cells = cells.map(|(name, cell)| match std::str::from_utf8(cell) {
        Ok(text) => Ok((name.clone(), Value::String(text.to_owned()))),
        Err(_) => Err(unreadable(format!("the cell {name:?} is not UTF-8"))),
    });
    cells.collect()
}

/// A row as it stands in the file, for the file of rejects. It is read again, because few rows are rejected.
pub(super) fn text_at(path: &Path, (begin, end): Place) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(end.saturating_sub(begin).min(LONGEST_LINE)).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
    Ok(hex(&hash.finalize()))
}
