//! The effects of single statements that matter to BEDS: end its transaction, change the session, write a table.
//!
//! Not here: which tables they write, which is `targets`'s; which routines, triggers and views a body leads to, which is `lint`'s.

use std::collections::BTreeSet;

use super::begins::{at, begins, is_in_set};
use super::targets::{Target, called, written};
use super::words::Word;

/// The effects of a body by itself.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// A statement that must not stand in a routine that BEDS calls.
    pub(super) forbidden: Option<String>,
    /// It changes the session beyond its own end: a variable, a setting, a lock, a temporary table.
    pub(super) leaves_session: bool,
    /// It reads from the session a trace that an earlier call may have left: `FOUND_ROWS()`, `LASTVAL()`.
    pub(super) reads_session: bool,
    pub(super) builds_temporary: bool,
    pub(super) advances_sequence: bool,
    /// Names under which the value of a JSON function is answered.
    pub(super) json_names: BTreeSet<String>,
    /// The words that follow INSERT, UPDATE, DELETE and REPLACE.
    pub(super) writes: BTreeSet<Target>,
    /// Functions that are called with a database in front.
    pub(super) calls: BTreeSet<Target>,
}

pub(super) fn effects(words: &[Word], own_names: &BTreeSet<String>) -> Effects {
    let mut effects = Effects::default();
    let mut local = own_names.clone();
    local.extend(declared(words));
    for i in 0..words.len() {
        if effects.forbidden.is_none() {
            effects.forbidden = forbidden(words, i);
        }
        session(words, i, &local, &mut effects);
        effects.writes.extend(written(words, i));
        effects.calls.extend(called(words, i));
        effects.json_names.extend(json_name(words, i));
    }
    effects
}

/// Functions whose value is JSON, and those that pass one on.
const JSON: &[&str] = &[
    "JSON_ARRAY",
    "JSON_ARRAYAGG",
    "JSON_ARRAY_APPEND",
    "JSON_ARRAY_INSERT",
    "JSON_COMPACT",
    "JSON_DETAILED",
    "JSON_EXTRACT",
    "JSON_INSERT",
    "JSON_KEYS",
    "JSON_LOOSE",
    "JSON_MERGE",
    "JSON_MERGE_PATCH",
    "JSON_MERGE_PRESERVE",
    "JSON_NORMALIZE",
    "JSON_OBJECT",
    "JSON_OBJECTAGG",
    "JSON_PRETTY",
    "JSON_QUERY",
    "JSON_REMOVE",
    "JSON_REPLACE",
    "JSON_SET",
];
const PASSING_ON: &[&str] = &["COALESCE", "IFNULL", "NULLIF", "IF"];

/// The name behind `JSON_OBJECT(…) AS name`, and behind `COALESCE(JSON_OBJECT(…), …) AS name`.
fn json_name(words: &[Word], i: usize) -> Option<String> {
    let word = at(words, i);
    if at(words, i + 1) != "(" || !(JSON.contains(&word) || PASSING_ON.contains(&word)) {
        return None;
    }
    let mut depth = 0_usize;
    let inner = words[i + 1..].iter().take_while(|word| {
        depth = match word.upper.as_str() {
            "(" => depth + 1,
            ")" => depth - 1,
            _ => depth,
        };
        depth > 0
    });
    let inner: Vec<&Word> = inner.collect();
    if PASSING_ON.contains(&word) && !inner.iter().any(|word| JSON.contains(&word.upper.as_str())) {
        return None;
    }
    let behind = i + 1 + inner.len() + 1;
    // Operators are no words, so a name without AS may be an operand of a comparison.
    let is_name = |word: &&Word| {
        !matches!(
            word.upper.as_str(),
            "," | ")" | "(" | ";" | "." | "FROM" | "INTO" | "WHERE" | "END"
        )
    };
    let name = words.get(behind + 1).filter(|_| at(words, behind) == "AS");
    name.filter(is_name).map(|word| word.written.clone())
}

/// Statements that commit, by their first word (MariaDB: "SQL statements that cause an implicit commit"), and those that
/// reach beyond the database. With them, the words that may stand behind, where it can be a name as well.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("COMMIT", &[";", "WORK", "AND", "RELEASE", "NO", ""]),
    ("ROLLBACK", &[";", "WORK", "AND", "RELEASE", "NO", ""]),
    ("CREATE", &[]),
    ("DROP", &[]),
    ("ALTER", &[]),
    ("RENAME", &[]),
    ("GRANT", &[]),
    ("REVOKE", &[]),
    ("TRUNCATE", &[]),
    ("ANALYZE", &[]),
    ("OPTIMIZE", &[]),
    ("REPAIR", &["TABLE", "TABLES", "VIEW", "VIEWS", "LOCAL", "NO_WRITE_TO_BINLOG"]),
    ("CHECK", &[]),
    ("FLUSH", &[]),
    ("RESET", &["MASTER", "SLAVE", "REPLICA", "QUERY"]),
    ("CACHE", &["INDEX"]),
    ("LOAD", &[]),
    ("INSTALL", &["PLUGIN", "SONAME"]),
    ("UNINSTALL", &["PLUGIN", "SONAME"]),
    ("UNLOCK", &["TABLE", "TABLES"]),
    ("XA", &["START", "BEGIN", "END", "PREPARE", "COMMIT", "ROLLBACK", "RECOVER"]),
    ("KILL", &[]),
    ("SHUTDOWN", &[";", "WAIT", ""]),
    ("PURGE", &["BINARY", "MASTER"]),
    ("CHANGE", &["MASTER"]),
];

fn forbidden(words: &[Word], i: usize) -> Option<String> {
    let (word, next) = (at(words, i), at(words, i + 1));
    let found = match (word, next) {
        ("START", "TRANSACTION") => "START TRANSACTION",
        ("BEGIN", "WORK") => "BEGIN WORK",
        ("AUTOCOMMIT" | "`AUTOCOMMIT" | "@@AUTOCOMMIT", _) if is_in_set(words, i) => {
            "SET autocommit"
        }
        ("SET", "PASSWORD") if begins(words, i) => "SET PASSWORD, which commits",
        ("SET", "DEFAULT" | "ROLE") if begins(words, i) => "SET ROLE, which changes rights",
        (
            "TRANSACTION"
            | "TX_READ_ONLY"
            | "TRANSACTION_READ_ONLY"
            | "@@TX_READ_ONLY"
            | "@@TRANSACTION_READ_ONLY",
            _,
        )
        | ("`TX_READ_ONLY" | "`TRANSACTION_READ_ONLY", _)
            if is_in_set(words, i) =>
        {
            "SET TRANSACTION"
        }
        ("PREPARE", _) if begins(words, i) && at(words, i + 2) == "FROM" => "PREPARE (dynamic SQL)",
        ("EXECUTE", "IMMEDIATE") => "EXECUTE IMMEDIATE (dynamic SQL)",
        ("EXECUTE", _) if begins(words, i) => "EXECUTE (dynamic SQL)",
        ("RELEASE_ALL_LOCKS", "(") => "RELEASE_ALL_LOCKS, which takes the lock of BEDS away",
        ("LOCK", "TABLES" | "TABLE") => "LOCK TABLES",
        ("INTO", "OUTFILE" | "DUMPFILE") => "INTO OUTFILE, which writes a file",
        ("GLOBAL" | "PERSIST" | "@@GLOBAL", _) if is_in_set(words, i) => {
            "SET GLOBAL, which changes the server for everybody"
        }
        ("TRUNCATE", "(") | ("CREATE" | "DROP", "TEMPORARY") => return None,
        ("CREATE", "OR") if at(words, i + 2) == "REPLACE" && at(words, i + 3) == "TEMPORARY" => {
            return None;
        }
        ("ROLLBACK", "TO") => return None,
        ("ROLLBACK", "WORK") if at(words, i + 2) == "TO" => return None,
        _ => {
            let (_, followers) = FORBIDDEN.iter().find(|(first, _)| *first == word)?;
            if !begins(words, i) || !may_follow(followers, next) {
                return None;
            }
            return Some(match word {
                "COMMIT" | "ROLLBACK" => word.to_owned(),
                "DROP" if next == "TABLE" => {
                    "DROP TABLE, which commits (a temporary table goes by DROP TEMPORARY TABLE)"
                        .to_owned()
                }
                "KILL" | "SHUTDOWN" | "PURGE" | "CHANGE" => {
                    format!("{word}, which reaches beyond the database")
                }
                _ => format!("{word}, which commits"),
            });
        }
    };
    Some(found.to_owned())
}

/// A column of such a name stands in a CASE as if a statement began there; no statement goes on like that.
fn may_follow(followers: &[&str], next: &str) -> bool {
    match followers {
        [] => !matches!(next, "ELSE" | "END" | "WHEN" | ")" | "." | ";" | ""),
        followers => followers.contains(&next),
    }
}

fn session(words: &[Word], i: usize, local: &BTreeSet<String>, effects: &mut Effects) {
    let (word, next) = (at(words, i), at(words, i + 1));
    match (word, next) {
        ("GET_LOCK" | "RELEASE_LOCK", "(") => effects.leaves_session = true,
        ("LAST_INSERT_ID", "(") if at(words, i + 2) != ")" => effects.leaves_session = true,
        ("FOUND_ROWS" | "LASTVAL", "(")
        | ("PREVIOUS", "VALUE")
        | ("@@WARNING_COUNT" | "@@ERROR_COUNT", _) => {
            effects.reads_session = true;
        }
        // Warnings name values of the call before.
        ("SHOW", "WARNINGS" | "ERRORS" | "COUNT") | ("DIAGNOSTICS", _) => {
            effects.reads_session = true
        }
        ("NEXTVAL" | "SETVAL", "(") | ("NEXT", "VALUE") => effects.advances_sequence = true,
        ("CREATE" | "REPLACE", "TEMPORARY") => {
            effects.builds_temporary = true;
            effects.leaves_session = true;
        }
        ("HANDLER", _) if begins(words, i) => effects.leaves_session = true,
        ("SET", "STATEMENT") => {}
        ("SET", _) if begins(words, i) => {
            effects.leaves_session |= sets_session(&words[i + 1..], local)
        }
        (word, _) if word.starts_with('@') && !word.starts_with("@@") => {
            effects.leaves_session = true
        }
        _ => {}
    }
}

/// True where one of the targets of a SET is no local variable: each stands at the front or behind a comma outside parentheses.
fn sets_session(words: &[Word], local: &BTreeSet<String>) -> bool {
    let mut depth = 0_usize;
    let mut is_target = true;
    for word in words {
        match word.upper.as_str() {
            ";" => return false,
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 0 => is_target = true,
            name if is_target => {
                is_target = false;
                let name = name.trim_start_matches('`');
                // `NEW.x` of a trigger is a column.
                if name != "NEW" && !local.contains(name) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// The names that a DECLARE of variables lists, and the variables of FOR loops.
fn declared(words: &[Word]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |word: Option<&Word>| {
        names.extend(word.map(|word| word.upper.trim_start_matches('`').to_owned()))
    };
    for (i, word) in words.iter().enumerate() {
        if word.is("FOR") && at(words, i + 2) == "IN" {
            add(words.get(i + 1));
        }
        let is_handler = || {
            at(words, i + 2) == "HANDLER"
                && matches!(at(words, i + 1), "EXIT" | "CONTINUE" | "UNDO")
        };
        if !word.is("DECLARE") || matches!(at(words, i + 2), "CURSOR" | "CONDITION") || is_handler()
        {
            continue;
        }
        add(words.get(i + 1));
        let mut next = i + 2;
        while at(words, next) == "," {
            add(words.get(next + 1));
            next += 2;
        }
    }
    names
}
