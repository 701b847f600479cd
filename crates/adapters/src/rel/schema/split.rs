//! Splits a SQL file into statements where the command line client would, in one pass: at the delimiter, outside texts,
//! quoted names and comments. `DELIMITER x` on a line of its own changes the delimiter; a file without such lines may hold
//! `BEGIN … END` bodies only last.
//!
//! Not here: running them, which is the parent's.

use beds_core::{BedsError, ErrorKind, Result};

use crate::rel::lint::words::{Word, words};
use crate::schema::File;

/// One statement of a file and the line where it begins.
#[derive(Debug)]
pub(super) struct Statement<'t> {
    pub(super) text: &'t str,
    pub(super) line: usize,
    pub(super) deed: Deed,
}

/// The kinds of statements that are treated in a way of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// It takes rows away with their table.
    DropsTable,
    /// It gives rights, or makes the role that gets them.
    Grants,
    Other,
}

/// The statements of a file.
///
/// # Errors
/// A file that names a database, or that a client would read as a command of its own, with file and line.
pub(super) fn split(file: &File) -> Result<Vec<Statement<'_>>> {
    let mut statements =
        pieces(&file.text).map_err(|(line, reason)| refused(file, line, &reason))?;
    for statement in &mut statements {
        let code = without_comments(statement.text);
        if let Some(reason) = reason_against(code) {
            let comments = &statement.text[..statement.text.len() - code.len()];
            return Err(refused(file, statement.line + comments.matches('\n').count(), reason));
        }
        statement.deed = deed(code);
        // Between other delimiters, several statements are one piece. No routine may say USE.
        if statement.text.contains(';') && statement.text.len() < MAX_BODY_BYTES {
            let words = words(code);
            if words.windows(2).any(|pair| pair[0].is(";") && pair[1].is("USE")) {
                return Err(refused(file, statement.line, DATABASE));
            }
        }
    }
    Ok(statements)
}

const DATABASE: &str = "a schema file does not make or name its database, which the credentials do: take this line out (docs/dba.md, Coming from a dump)";

/// A longer piece is rows of a dump, and no routine.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// An error at a line of a file.
pub(super) fn refused(file: &File, line: usize, reason: &str) -> BedsError {
    BedsError::new(ErrorKind::MalformedBody, format!("{}:{line}: {reason}", file.path.display()))
}

/// Why a statement has no place in a schema file, or `None`.
fn reason_against(text: &str) -> Option<&'static str> {
    let words = first_words(text);
    let at = |i: usize| words.get(i).map_or("", |word: &Word| word.upper.as_str());
    match (at(0), at(1)) {
        ("USE", _) | ("CREATE" | "DROP" | "ALTER", "DATABASE" | "SCHEMA") => Some(DATABASE),
        ("CREATE", "OR") if matches!(at(3), "DATABASE" | "SCHEMA") => Some(DATABASE),
        ("SOURCE", _) => Some("SOURCE is a command of the client; put the text of that file here"),
        _ => None,
    }
}

fn deed(text: &str) -> Deed {
    let words = first_words(text);
    let at = |i: usize| words.get(i).map_or("", |word: &Word| word.upper.as_str());
    match (at(0), at(1), at(2), at(3)) {
        // A temporary table has no rows worth keeping.
        ("DROP", "TABLE" | "TABLES", ..)
        | ("TRUNCATE", ..)
        | ("CREATE", "OR", "REPLACE", "TABLE") => Deed::DropsTable,
        ("GRANT", ..) | ("CREATE", "ROLE", ..) => Deed::Grants,
        _ => Deed::Other,
    }
}

/// The first words are enough, and a dump has statements of many megabytes.
fn first_words(text: &str) -> Vec<Word> {
    words(text.get(..text.floor_char_boundary(400)).unwrap_or(text))
}

type Pieces<'t> = std::result::Result<Vec<Statement<'t>>, (usize, String)>;

fn pieces(text: &str) -> Pieces<'_> {
    let mut splitter =
        Splitter { text, delimiter: ";", start: 0, line: 1, counted: 0, statements: Vec::new() };
    let mut at = 0;
    let mut is_line_start = true;
    while at < text.len() {
        let rest = &text[at..];
        if is_line_start && let Some(command) = client_command(rest) {
            splitter.push(at);
            let end = rest.find('\n').map_or(text.len(), |n| at + n + 1);
            // As the client does: the first word counts, and the words behind it do not.
            splitter.delimiter = command.split_whitespace().next().ok_or_else(|| {
                let line = text[..at].matches('\n').count() + 1;
                (line, "DELIMITER names no delimiter; write DELIMITER // or DELIMITER ;".to_owned())
            })?;
            (splitter.start, at) = (end, end);
            continue;
        }
        if rest.starts_with(splitter.delimiter) {
            splitter.push(at);
            at += splitter.delimiter.len();
            splitter.start = at;
            is_line_start = false;
            continue;
        }
        let length = token(rest);
        let token = &rest[..length];
        // Everything behind it would be skipped, and be told as applied.
        if token.starts_with("/*") && (token.len() < 4 || !token.ends_with("*/")) {
            let line = text[..at].matches('\n').count() + 1;
            return Err((
                line,
                "a comment begins here and does not end; write */ where it ends".to_owned(),
            ));
        }
        is_line_start = token.ends_with('\n') || (is_line_start && token.trim().is_empty());
        at += length;
    }
    splitter.push(text.len());
    Ok(splitter.statements)
}

struct Splitter<'t> {
    text: &'t str,
    delimiter: &'t str,
    start: usize,
    /// The line of the byte up to which lines were counted.
    line: usize,
    counted: usize,
    statements: Vec<Statement<'t>>,
}

impl Splitter<'_> {
    fn push(&mut self, end: usize) {
        let piece = self.text[self.start..end].trim();
        if only_comments(piece) {
            return;
        }
        let whole = &self.text[self.start..end];
        let begin = self.start + (whole.len() - whole.trim_start().len());
        self.line += self.text[self.counted..begin].matches('\n').count();
        self.counted = begin;
        self.statements.push(Statement { text: piece, line: self.line, deed: Deed::Other });
    }
}

/// The text behind DELIMITER, where a line is that command of the client's.
fn client_command(rest: &str) -> Option<&str> {
    const WORD: &str = "DELIMITER";
    let word = rest.get(..WORD.len()).filter(|word| word.eq_ignore_ascii_case(WORD))?;
    let behind = &rest[word.len()..];
    let behind = &behind[..behind.find('\n').unwrap_or(behind.len())];
    (behind.is_empty() || behind.starts_with(char::is_whitespace)).then_some(behind)
}

/// The length of the text, quoted name, comment or single character at the front.
fn token(rest: &str) -> usize {
    let end_of = |from: usize, end: &str| {
        rest[from..].find(end).map_or(rest.len(), |n| from + n + end.len())
    };
    let bytes = rest.as_bytes();
    match bytes[0] {
        b'#' => end_of(0, "\n"),
        b'-' if bytes.get(1) == Some(&b'-')
            && bytes.get(2).is_none_or(|b| b.is_ascii_whitespace() || b.is_ascii_control()) =>
        {
            end_of(0, "\n")
        }
        b'/' if bytes.get(1) == Some(&b'*') => end_of(2, "*/"),
        quote @ (b'\'' | b'"' | b'`') => {
            let mut at = 1;
            while at < bytes.len() && bytes[at] != quote {
                at += if bytes[at] == b'\\' && quote != b'`' { 2 } else { 1 };
            }
            // Ends on a character boundary, because the quote is one byte.
            (at + 1).min(bytes.len())
        }
        _ => rest.chars().next().map_or(1, char::len_utf8),
    }
}

fn only_comments(text: &str) -> bool {
    without_comments(text).is_empty()
}

/// The text behind the comments at the front.
fn without_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with("--")
        || rest.starts_with('#')
        || (rest.starts_with("/*") && !is_executable(rest))
    {
        let length = token(rest);
        if length == 1 {
            break;
        }
        rest = rest[length..].trim_start();
    }
    rest
}

fn is_executable(comment: &str) -> bool {
    comment.starts_with("/*!") || comment.starts_with("/*M!")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        pieces(text).unwrap().iter().map(|s| format!("{}|{}", s.line, s.text)).collect()
    }

    fn file(text: &str) -> File {
        File { name: "0001_x.sql".into(), path: "rel/main/0001_x.sql".into(), text: text.into() }
    }

    #[test]
    fn a_file_is_split_where_the_client_would_split_it() {
        let file = "-- first\nA 'x;y';\nDELIMITER //\nB; -- z // no\nC;\n//\nDELIMITER ;\nD `a;b`; /* ; */\nE";
        assert_eq!(
            texts(file),
            ["1|-- first\nA 'x;y'", "4|B; -- z // no\nC;", "8|D `a;b`", "8|/* ; */\nE"]
        );
        assert_eq!(texts("-- only a comment\n"), Vec::<String>::new());
        assert_eq!(texts("A 'it''s ü;';B"), ["1|A 'it''s ü;'", "1|B"]);
    }

    #[test]
    fn what_would_be_skipped_or_leave_the_database_is_refused_with_its_line() {
        let said = |text: &str| split(&file(text)).unwrap_err().to_string();
        assert!(said("A;\nB; /* never\nC;\n").contains("0001_x.sql:2: a comment begins here"));
        assert!(said("A; /*/\nC;\n").contains("0001_x.sql:1: a comment begins here"));
        assert!(
            said("DELIMITER //\nSELECT 1; USE mysql //\n")
                .contains("0001_x.sql:2: a schema file does not")
        );
    }

    #[test]
    fn what_dump_tools_write_is_read() {
        for delimiter in
            ["DELIMITER\t$$", "DELIMITER $$ -- procedures", "delimiter $$\r", "  DELIMITER   $$"]
        {
            let text = format!("A;\n{delimiter}\nB;C$$\nDELIMITER ;\nD;");
            assert_eq!(
                texts(&text).iter().map(|s| &s[2..]).collect::<Vec<_>>(),
                ["A", "B;C", "D"],
                "{delimiter}"
            );
        }
        assert_eq!(
            texts("--\tdon't\nA;\r\n--\r\nB;#'\nC"),
            ["1|--\tdon't\nA", "3|--\r\nB", "4|#'\nC"]
        );
        assert_eq!(
            texts("/*!40101 SET NAMES utf8mb4 */;\n/*M!100 X */;\n/* no */;"),
            ["1|/*!40101 SET NAMES utf8mb4 */", "2|/*M!100 X */"]
        );
        assert_eq!(texts("INSERT 'a\\'b;c';X"), ["1|INSERT 'a\\'b;c'", "1|X"]);
    }

    #[test]
    fn a_delimiter_without_a_name_is_refused_with_its_line() {
        let error = split(&file("A;\nDELIMITER \nB;")).unwrap_err();
        assert!(
            error.message.starts_with("rel/main/0001_x.sql:2: DELIMITER names no delimiter"),
            "{}",
            error.message
        );
    }

    #[test]
    fn a_file_does_not_name_its_database() {
        for text in [
            "USE shop",
            "CREATE DATABASE IF NOT EXISTS shop",
            "CREATE DATABASE /*!32312 IF NOT EXISTS*/ shop",
            "/*!40000 DROP DATABASE IF EXISTS `shop`*/",
            "drop schema shop",
            "CREATE OR REPLACE DATABASE shop",
            "source other.sql",
        ] {
            let error = split(&file(&format!("A;\n\n{text};\nB;"))).unwrap_err();
            assert!(
                error.message.starts_with("rel/main/0001_x.sql:3: "),
                "{text}: {}",
                error.message
            );
        }
        let behind = split(&file("A;\n-- a comment\n/* and\n one */ USE x;")).unwrap_err();
        assert!(behind.message.starts_with("rel/main/0001_x.sql:4: "), "{}", behind.message);
        assert!(
            split(&file("CREATE TABLE used (schema_name INT); INSERT INTO t VALUES ('USE x')"))
                .is_ok()
        );
    }

    #[test]
    fn a_long_line_takes_linear_time() {
        // 8 MB on one line, as dumps have it: with a look back at each character this would take the better part of an hour.
        let line = format!("INSERT INTO t VALUES {};\n", "(1,'it''s; a row'),".repeat(400_000));
        assert_eq!(pieces(&line).unwrap().len(), 1);
    }
}
