//! A first pass over a CSV file, before any of its rows is sent: it counts the rows and finds two mistakes that the reader
//! accepts silently, a text that does not end and a text that goes on behind its closing quote.
//!
//! Not here: the values, which are read when a row is sent.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Rows without the header. Empty lines are none.
    pub(super) rows: usize,
    /// Rows, counted from 1, in which a text goes on behind its closing quote.
    pub(super) torn: BTreeSet<usize>,
}

enum At {
    /// At the front of a record.
    Record,
    /// At the front of a further cell.
    Cell,
    Plain,
    Quoted,
    /// Behind a quote within a quoted text: its end, or the first half of a quote.
    Quote,
}

/// Goes through a file.
///
/// # Errors
/// The line on which a text begins that does not end, or why the file cannot be read.
pub(super) fn scan(source: impl Read) -> Result<Scan, String> {
    let mut reader = BufReader::with_capacity(1 << 16, source);
    let mut scan = Scan::default();
    let (mut at, mut line, mut opened, mut records) = (At::Record, 1_usize, 1_usize, 0_usize);
    let mut is_first = true;
    loop {
        let chunk = reader.fill_buf().map_err(|e| e.to_string())?;
        if chunk.is_empty() {
            break;
        }
        let read = chunk.len();
        // The byte order mark that spreadsheets write.
        let skipped =
            if std::mem::take(&mut is_first) && chunk.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        for byte in &chunk[skipped..] {
            if matches!(at, At::Record) && !matches!(byte, b'\n' | b'\r') {
                records += 1;
            }
            at = match (&at, byte) {
                (At::Quoted, b'"') => At::Quote,
                (At::Quoted, _) => At::Quoted,
                (At::Quote, b'"') => At::Quoted,
                (_, b'\n' | b'\r') => At::Record,
                (_, b',') => At::Cell,
                (At::Record | At::Cell, b'"') => {
                    opened = line;
                    At::Quoted
                }
                (At::Quote, _) => {
                    scan.torn.insert(records.saturating_sub(1));
                    At::Plain
                }
                _ => At::Plain,
            };
            if *byte == b'\n' {
                line += 1;
            }
        }
        reader.consume(read);
    }
    if matches!(at, At::Quoted) {
        return Err(format!(
            "line {opened} begins a text in quotes that does not end, so all behind it would be one cell"
        ));
    }
    scan.rows = records.saturating_sub(1);
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(usize, Vec<usize>), String> {
        scan(text.as_bytes()).map(|scan| (scan.rows, scan.torn.into_iter().collect()))
    }

    #[test]
    fn rows_are_counted_as_the_reader_counts_them() {
        for (text, rows) in [
            ("", 0),
            ("a,b\n", 0),
            ("a,b\n1,2\n\n3,4", 2),
            ("a\r\n1\r\n2\r\n", 2),
            ("a\r1\r2", 2),
            ("a\n\"x\ny\",\n\"\"\"\"\n", 2),
            ("\u{feff}\"a\"\n1\n", 1),
            ("a,b\n,\n", 1),
        ] {
            assert_eq!(of(text), Ok((rows, Vec::new())), "{text:?}");
            let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
            assert_eq!(reader.byte_records().count(), rows, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_does_not_end_is_found_with_its_line() {
        assert!(of("a,b,c\n1,2,\"unclosed\n3,4,5\n").unwrap_err().starts_with("line 2 "));
        assert!(of("\"a").unwrap_err().starts_with("line 1 "));
        assert_eq!(of("a\n\"x\"y\n1\n\"z\" \n"), Ok((3, vec![1, 3])));
        assert_eq!(
            of("a\nx\"y\"z\n"),
            Ok((1, Vec::new())),
            "a quote within a plain text is a quote"
        );
    }
}
