//! Applies a DBA's SQL files with the DBA's own login. The text is the DBA's; nothing here writes SQL.

use beds_core::{BedsError, ErrorKind, Result, config};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};

use crate::schema::{Applied, File};

/// Applies the files that were not applied yet, in order; each is recorded once all of its statements succeeded.
pub(crate) async fn apply(
    config: &config::Database,
    files: &[File],
    redo: bool,
    mut report: impl FnMut(&File, Applied),
) -> Result<()> {
    let opts = Opts::from_url(config.url.expose()).map_err(|e| failed("the url cannot be used", e.into()))?;
    let opts = OptsBuilder::from_opts(opts).client_found_rows(true);
    let mut conn = Conn::new(opts).await.map_err(|e| failed("cannot connect as the DBA", e))?;
    let recorded = recorded(&mut conn).await?;
    for file in files {
        let action =
            file.action(recorded.iter().find(|(name, _)| *name == file.name).map(|(_, digest)| digest.as_str()), redo)?;
        if action != Applied::AlreadyThere {
            for statement in split(&file.text) {
                conn.query_drop(statement.text).await.map_err(|e| {
                    failed(&format!("{}:{}: {}", file.path.display(), statement.line, server_text(&e)), e)
                })?;
            }
            conn.exec_drop("CALL `beds_schema_record`(?,?)", (&file.name, file.digest()))
                .await
                .map_err(|e| failed("the file was applied but could not be recorded", e))?;
        }
        report(file, action);
    }
    conn.disconnect().await.map_err(|e| failed("the connection did not close cleanly", e))
}

/// What was applied before; nothing where the first file is still to come.
async fn recorded(conn: &mut Conn) -> Result<Vec<(String, String)>> {
    let rows: Vec<Row> = match conn.exec("CALL `beds_schema_list`()", ()).await {
        Ok(rows) => rows,
        Err(mysql_async::Error::Server(server)) if server.code == 1305 => return Ok(Vec::new()),
        Err(error) => return Err(failed("cannot read what was applied", error)),
    };
    let text = |row: &Row, column: &str| row.get_opt::<String, _>(column).and_then(std::result::Result::ok);
    Ok(rows.iter().filter_map(|row| Some((text(row, "file")?, text(row, "digest")?))).collect())
}

/// The DBA sees the server's own words about the DBA's own file.
fn server_text(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(server) => format!("error {}: {}", server.code, server.message),
        other => other.to_string(),
    }
}

fn failed(text: &str, error: mysql_async::Error) -> BedsError {
    let text = if text.contains(": error ") { text.to_owned() } else { format!("{text}: {}", server_text(&error)) };
    BedsError::new(ErrorKind::Internal, text).with_source(error)
}

/// One statement of a file and the line where it begins.
struct Statement<'t> {
    text: &'t str,
    line: usize,
}

/// Splits a file at its delimiter, outside texts, quoted names and comments. `DELIMITER x` on a line of its own changes
/// the delimiter, as in the command line client; a file without such lines may hold `BEGIN … END` bodies only last.
fn split(text: &str) -> Vec<Statement<'_>> {
    let bytes = text.as_bytes();
    let mut delimiter = ";";
    let mut statements = Vec::new();
    let (mut start, mut i) = (0, 0);
    let mut push = |start: usize, end: usize| {
        let piece = text[start..end].trim();
        if !only_comments(piece) {
            let begin = start + text[start..end].find(piece).unwrap_or(0);
            statements.push(Statement { text: piece, line: text[..begin].matches('\n').count() + 1 });
        }
    };
    while i < bytes.len() {
        let rest = &text[i..];
        let at_line_start = text[..i].rfind('\n').map_or_else(|| text[..i].trim(), |n| text[n..i].trim()).is_empty();
        if at_line_start && rest.len() > 10 && rest.as_bytes()[..10].eq_ignore_ascii_case(b"DELIMITER ") {
            push(start, i);
            let end = rest.find('\n').map_or(text.len(), |n| i + n);
            delimiter = text[i + 10..end].trim();
            (start, i) = (end, end);
        } else if rest.starts_with(delimiter) {
            push(start, i);
            i += delimiter.len();
            start = i;
        } else {
            i += skip(rest);
        }
    }
    push(start, bytes.len());
    statements
}

/// The length of the text, quoted name, comment or single character at the front.
fn skip(rest: &str) -> usize {
    let end_of = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |n| from + n + end.len());
    let first = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("-- ") || rest.starts_with("--\n") || rest.starts_with('#') {
        return end_of(0, "\n");
    }
    if rest.starts_with("/*") {
        return end_of(2, "*/");
    }
    if !rest.starts_with(['\'', '"', '`']) {
        return first;
    }
    let quote = rest.as_bytes()[0];
    let mut i = 1;
    while i < rest.len() && rest.as_bytes()[i] != quote {
        i += if rest.as_bytes()[i] == b'\\' && quote != b'`' { 2 } else { 1 };
    }
    // Ends on a character boundary, because the quote is one byte.
    (i + 1).min(rest.len())
}

fn only_comments(text: &str) -> bool {
    let mut rest = text.trim_start();
    while rest.starts_with("--") || rest.starts_with('#') || (rest.starts_with("/*") && !rest.starts_with("/*!")) {
        rest = rest[skip(rest)..].trim_start();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        split(text).iter().map(|s| format!("{}|{}", s.line, s.text)).collect()
    }

    #[test]
    fn a_file_is_split_where_the_client_would_split_it() {
        let file = "-- first\nA 'x;y';\nDELIMITER //\nB; -- z // no\nC;\n//\nDELIMITER ;\nD `a;b`; /* ; */\nE";
        assert_eq!(texts(file), ["1|-- first\nA 'x;y'", "4|B; -- z // no\nC;", "8|D `a;b`", "8|/* ; */\nE"]);
        assert_eq!(texts("-- only a comment\n"), Vec::<String>::new());
        assert_eq!(texts("A 'it''s ü;';B"), ["1|A 'it''s ü;'", "1|B"]);
    }
}
