//! Finds procedures that would break the transaction that BEDS calls them in: an inner COMMIT would make the claim of
//! the idempotency key and the change two things. It reads words outside comments and texts, and follows nested CALLs.

use std::collections::{BTreeMap, HashSet};

/// Why a routine must not be called, or `None`. `definitions` are the bodies of all routines of the database.
pub(super) fn refusal(name: &str, definitions: &BTreeMap<String, String>) -> Option<String> {
    let mut seen = HashSet::new();
    follow(name, definitions, &mut seen)
}

fn follow<'d>(name: &'d str, definitions: &'d BTreeMap<String, String>, seen: &mut HashSet<&'d str>) -> Option<String> {
    if !seen.insert(name) {
        return None;
    }
    let words = words(definitions.get(name)?);
    if let Some(found) = forbidden(&words) {
        return Some(format!("{name} uses {found}"));
    }
    let called = words.windows(2).filter(|pair| pair[0] == "CALL").map(|pair| pair[1].as_str());
    for callee in called {
        let callee = definitions.keys().find(|known| known.eq_ignore_ascii_case(callee));
        if let Some(found) = callee.and_then(|callee| follow(callee, definitions, seen)) {
            return Some(found);
        }
    }
    None
}

fn forbidden(words: &[String]) -> Option<&'static str> {
    let at = |i: usize| words.get(i).map_or("", String::as_str);
    for i in 0..words.len() {
        let begins =
            i == 0 || matches!(at(i - 1), ";" | "BEGIN" | "THEN" | "ELSE" | "DO" | "LOOP" | "REPEAT" | "HANDLER");
        let found = match (at(i), at(i + 1)) {
            ("COMMIT", _) => "COMMIT",
            ("ROLLBACK", "TO") => continue,
            ("ROLLBACK", _) => "ROLLBACK",
            ("START", "TRANSACTION") => "START TRANSACTION",
            ("BEGIN", "WORK") => "BEGIN WORK",
            ("SET", "AUTOCOMMIT") | ("SESSION", "AUTOCOMMIT") => "SET autocommit",
            ("PREPARE", _) if begins => "PREPARE (dynamic SQL)",
            ("EXECUTE", "IMMEDIATE") => "EXECUTE IMMEDIATE (dynamic SQL)",
            ("LOCK", "TABLES" | "TABLE") => "LOCK TABLES",
            ("TRUNCATE", word) if begins && word != "(" => "TRUNCATE, which commits",
            ("CREATE" | "DROP", "TEMPORARY") => continue,
            ("CREATE" | "DROP" | "ALTER" | "RENAME" | "GRANT" | "REVOKE", _) if begins => "DDL, which commits",
            _ => continue,
        };
        return Some(found);
    }
    None
}

/// The words of a body in capitals, with `;` and `(` as words of their own; comments and texts are left out.
fn words(body: &str) -> Vec<String> {
    let chars: Vec<char> = body.chars().collect();
    let mut words = Vec::new();
    let mut i = 0;
    let skip_to =
        |from: usize, end: &dyn Fn(usize) -> bool| (from..chars.len()).find(|i| end(*i)).unwrap_or(chars.len());
    while i < chars.len() {
        let next = chars.get(i + 1).copied().unwrap_or(' ');
        match chars[i] {
            '-' if next == '-' => i = skip_to(i, &|j| chars[j] == '\n'),
            '#' => i = skip_to(i, &|j| chars[j] == '\n'),
            // An executable comment (/*! … */) is code and is read as such.
            '/' if next == '*' && chars.get(i + 2) != Some(&'!') => {
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
            c if c.is_alphanumeric() || c == '_' => {
                let end = skip_to(i, &|j| !(chars[j].is_alphanumeric() || chars[j] == '_'));
                words.push(chars[i..end].iter().collect::<String>().to_uppercase());
                i = end;
            }
            c => {
                if matches!(c, ';' | '(') {
                    words.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Option<String> {
        let definitions = BTreeMap::from([
            ("p".to_owned(), body.to_owned()),
            ("inner_commit".to_owned(), "BEGIN UPDATE t SET a = 1; COMMIT; END".to_owned()),
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
            "BEGIN # COMMIT\n SELECT `COMMIT_at` FROM t; END",
        ] {
            assert_eq!(check(body), None, "{body}");
        }
    }
}
