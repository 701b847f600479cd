//! Finds procedures that would break the transaction that BEDS calls them in: an inner COMMIT would make the claim of
//! the idempotency key and the change two things. It reads words outside comments and texts, and follows nested CALLs.

use std::collections::{BTreeMap, HashSet};

/// Bodies of routines by name; none where the catalogue may not show one.
pub(super) type Definitions = BTreeMap<String, Option<String>>;

/// Why a routine must not be called, or `None`. `definitions` are those of all routines of the database.
pub(super) fn refusal(name: &str, definitions: &Definitions) -> Option<String> {
    let mut seen = HashSet::new();
    follow(name, definitions, &mut seen)
}

fn follow<'d>(name: &'d str, definitions: &'d Definitions, seen: &mut HashSet<&'d str>) -> Option<String> {
    if !seen.insert(name) {
        return None;
    }
    let Some(body) = definitions.get(name)? else {
        return Some(format!("the body of {name} cannot be read; whoever defines beds_catalog must be able to see it"));
    };
    let words = words(body);
    if let Some(found) = forbidden(&words) {
        return Some(format!("{name} uses {found}"));
    }
    for (at, _) in words.iter().enumerate().filter(|(_, word)| *word == "CALL") {
        let callee = words.get(at + 1).map_or("", String::as_str);
        if words.get(at + 2).is_some_and(|word| word == ".") {
            return Some(format!("{name} names the database of a procedure that it calls; leave the database out"));
        }
        let callee = definitions.keys().find(|known| known.eq_ignore_ascii_case(callee));
        if let Some(found) = callee.and_then(|callee| follow(callee, definitions, seen)) {
            return Some(found);
        }
    }
    None
}

/// Statements that commit, by their first word (MariaDB: "SQL statements that cause an implicit commit").
const COMMITTING: &[&str] = &[
    "CREATE",
    "DROP",
    "ALTER",
    "RENAME",
    "GRANT",
    "REVOKE",
    "TRUNCATE",
    "ANALYZE",
    "OPTIMIZE",
    "REPAIR",
    "CHECK",
    "FLUSH",
    "RESET",
    "CACHE",
    "LOAD",
    "INSTALL",
    "UNINSTALL",
    "UNLOCK",
];

fn forbidden(words: &[String]) -> Option<String> {
    let at = |i: usize| words.get(i).map_or("", String::as_str);
    for i in 0..words.len() {
        let found = match (at(i), at(i + 1)) {
            ("COMMIT", _) => "COMMIT",
            ("ROLLBACK", "TO") => continue,
            ("ROLLBACK", _) => "ROLLBACK",
            ("START", "TRANSACTION") => "START TRANSACTION",
            ("BEGIN", "WORK") => "BEGIN WORK",
            ("AUTOCOMMIT", _) if statement(words, i).iter().any(|word| word == "SET") => "SET autocommit",
            ("PREPARE", _) if begins(words, i) => "PREPARE (dynamic SQL)",
            ("EXECUTE", "IMMEDIATE") => "EXECUTE IMMEDIATE (dynamic SQL)",
            ("LOCK", "TABLES" | "TABLE") => "LOCK TABLES",
            ("TRUNCATE", "(") | ("CREATE" | "DROP", "TEMPORARY") => continue,
            (word, _) if COMMITTING.contains(&word) && begins(words, i) => {
                return Some(format!("{word}, which commits"));
            }
            _ => continue,
        };
        return Some(found.to_owned());
    }
    None
}

/// True where a statement begins: at the front, behind what ends or opens one, or behind the conditions of a handler.
fn begins(words: &[String], i: usize) -> bool {
    let Some(before) = i.checked_sub(1).map(|before| words[before].as_str()) else { return true };
    if OPENING.contains(&before) {
        return true;
    }
    let statement = statement(words, i);
    let is_set_for = before == "FOR" && matches!(statement, [set, what, ..] if set == "SET" && what == "STATEMENT");
    is_set_for || statement.iter().any(|word| word == "HANDLER")
}

/// The words of a statement before one of them.
fn statement(words: &[String], i: usize) -> &[String] {
    let opens = |word: &String| OPENING.contains(&word.as_str());
    let begin = words[..i].iter().rposition(opens).map_or(0, |end| end + 1);
    &words[begin..i]
}

/// What a statement stands behind.
const OPENING: &[&str] = &[";", "BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT"];

/// The words of a body in capitals, with `;`, `(` and `.` as words of their own; comments and texts are left out.
fn words(body: &str) -> Vec<String> {
    let chars: Vec<char> = body.chars().collect();
    let mut words = Vec::new();
    let mut i = 0;
    let skip_to =
        |from: usize, end: &dyn Fn(usize) -> bool| (from..chars.len()).find(|i| end(*i)).unwrap_or(chars.len());
    while i < chars.len() {
        let next = chars.get(i + 1).copied().unwrap_or(' ');
        match chars[i] {
            // `5--1` is arithmetic; only white space makes it a comment.
            '-' if next == '-' && chars.get(i + 2).is_none_or(|c| c.is_whitespace() || c.is_control()) => {
                i = skip_to(i, &|j| chars[j] == '\n')
            }
            '#' => i = skip_to(i, &|j| chars[j] == '\n'),
            // Executable comments (/*! … */ and /*M! … */) are code and are read as such.
            '/' if next == '*' && !matches!(chars.get(i + 2..), Some(['!', ..] | ['M', '!', ..])) => {
                i = skip_to(i + 2, &|j| chars[j] == '/' && chars[j - 1] == '*') + 1;
            }
            quote @ ('\'' | '"') => {
                i += 1;
                while i < chars.len() && chars[i] != quote {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '`' => {
                let end = skip_to(i + 1, &|j| chars[j] == '`');
                words.push(chars[i + 1..end].iter().collect());
                i = end + 1;
            }
            c if is_of_a_word(c) => {
                let end = skip_to(i, &|j| !is_of_a_word(chars[j]));
                words.push(chars[i..end].iter().collect::<String>().to_uppercase());
                i = end;
            }
            c => {
                if matches!(c, ';' | '(' | '.') {
                    words.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    words
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Option<String> {
        let definitions = BTreeMap::from([
            ("p".to_owned(), Some(body.to_owned())),
            ("inner_commit".to_owned(), Some("BEGIN UPDATE t SET a = 1; COMMIT; END".to_owned())),
            ("pay$inner".to_owned(), Some("BEGIN COMMIT; END".to_owned())),
            ("unseen".to_owned(), None),
        ]);
        refusal("p", &definitions)
    }

    #[test]
    fn what_ends_the_transaction_is_refused() {
        for body in [
            "BEGIN INSERT INTO t VALUES (1); COMMIT; END",
            "BEGIN START TRANSACTION; END",
            "BEGIN IF a THEN rollback; END IF; END",
            "BEGIN TRUNCATE TABLE t; END",
            "BEGIN CREATE TABLE x (a INT); END",
            "BEGIN SET @s = CONCAT('DROP TABLE ', n); PREPARE st FROM @s; EXECUTE st; END",
            "BEGIN EXECUTE IMMEDIATE 'x'; END",
            "BEGIN ALTER TABLE t ADD b INT; END",
            "BEGIN SET autocommit = 1; END",
            "BEGIN LOCK TABLES t WRITE; END",
            "BEGIN /*! COMMIT */; END",
            "BEGIN CALL inner_commit(); END",
            "BEGIN CALL `inner_commit`(); END",
            "BEGIN CALL main.inner_commit(); END",
            "BEGIN CALL `main` . `inner_commit`(); END",
            "BEGIN CALL unseen(); END",
            "BEGIN ANALYZE TABLE t; END",
            "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION DROP TABLE t; SELECT 1; END",
            "BEGIN DECLARE EXIT HANDLER FOR 1062, NOT FOUND TRUNCATE t; SELECT 1; END",
            "BEGIN SET x = 5--1; COMMIT; END",
            "BEGIN /*M! COMMIT */; END",
            "BEGIN CALL pay$inner(); END",
            "BEGIN SET STATEMENT max_statement_time = 60 FOR TRUNCATE TABLE t; END",
            "BEGIN SET @@session.autocommit = 0; END",
            "BEGIN IF a THEN SET LOCAL autocommit = 1; END IF; END",
            "BEGIN SET x = 1, autocommit = 1; END",
        ] {
            assert!(check(body).is_some(), "{body}");
        }
    }

    #[test]
    fn innocent_words_are_not() {
        for body in [
            "BEGIN -- COMMIT\n SELECT 'COMMIT; ROLLBACK', \"it''s COMMIT\"; /* COMMIT */ END",
            "BEGIN SELECT TRUNCATE(a, 2), created, committed FROM t; END",
            "BEGIN CREATE TEMPORARY TABLE x (a INT); DROP TEMPORARY TABLE x; END",
            "BEGIN SAVEPOINT s; ROLLBACK TO s; END",
            "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION SELECT 'x'; SELECT 1 -- COMMIT\n; --\n END",
            "BEGIN SELECT t.create, t.check, t.load FROM t; END",
            "BEGIN SET @a = 1; SELECT @@autocommit; SET STATEMENT max_statement_time = 1 FOR SELECT 1; END",
            "BEGIN # COMMIT\n SELECT `COMMIT_at` FROM t; END",
        ] {
            assert_eq!(check(body), None, "{body}");
        }
    }
}
