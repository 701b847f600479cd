//! The tables that a statement writes, and the functions of other databases that it calls.
//!
//! Not here: which of the tables exist, which is `lint`'s.

use super::begins::{at, begins};
use super::words::Word;

/// A table that is written, or a function that is called. Names are in capitals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// None where the statement names none.
    pub(super) database: Option<String>,
    /// Of a table, it may be an alias.
    pub(super) name: String,
}

/// The names that INSERT, UPDATE, DELETE and REPLACE stand before.
pub(super) fn written(words: &[Word], i: usize) -> Vec<Target> {
    let ends: &[&str] = match at(words, i) {
        "INSERT" | "REPLACE" if begins(words, i) => {
            &["(", "VALUES", "VALUE", "SELECT", "SET", "WITH", ";"]
        }
        // Not of ON DUPLICATE KEY UPDATE and FOR UPDATE.
        "UPDATE" if begins(words, i) => &["SET", ";"],
        "DELETE" if begins(words, i) => &["WHERE", "ORDER", "LIMIT", "RETURNING", ";"],
        _ => return Vec::new(),
    };
    let length = words[i..].iter().position(|word| ends.contains(&word.upper.as_str()));
    let words = length.map_or(&words[i..], |length| &words[i..i + length]);
    let target = |place: usize| {
        // Of `a.*`, no word stands behind the point.
        if matches!(at(words, place), "." | "," | "(" | ")" | "FROM" | "USING")
            || at(words, place + 1) == "."
        {
            return None;
        }
        let name = plain(&words[place]);
        if !words[place - 1].is(".") {
            return Some(Target { database: None, name });
        }
        is_table(words, place - 2)
            .then(|| Target { database: Some(plain(&words[place - 2])), name })
    };
    (1..words.len()).filter_map(target).collect()
}

/// `other.f(…)`, which the list of columns in `INSERT INTO other.t (…)` looks like.
pub(super) fn called(words: &[Word], i: usize) -> Option<Target> {
    let before = i.checked_sub(1).map_or("", |before| at(words, before));
    let is_call = at(words, i + 1) == "." && at(words, i + 3) == "(" && before != ".";
    if !is_call
        || matches!(before, "INTO" | "INSERT" | "REPLACE" | "IGNORE" | "CALL" | "TABLE" | "EXISTS")
    {
        return None;
    }
    Some(Target { database: Some(plain(&words[i])), name: plain(&words[i + 2]) })
}

/// True where the pair of names that begins here is a table behind its database, and not a column behind its table.
fn is_table(words: &[Word], place: usize) -> bool {
    let before = words[place - 1].upper.as_str();
    if !matches!(before, "," | "(") {
        return TABLES_FOLLOW.contains(&before);
    }
    // Behind a comma either may stand. The table of a column stands in one place without a column, or behind its database.
    let name = plain(&words[place]);
    let is_elsewhere = |other: usize| {
        other != place + 2 && at(words, other + 1) != "." && plain(&words[other]) == name
    };
    !(1..words.len()).any(is_elsewhere)
}

/// The words that a table stands behind, commas and parentheses apart.
const TABLES_FOLLOW: &[&str] = &[
    "INSERT",
    "REPLACE",
    "UPDATE",
    "DELETE",
    "INTO",
    "FROM",
    "USING",
    "JOIN",
    "STRAIGHT_JOIN",
    "IGNORE",
    "LOW_PRIORITY",
    "HIGH_PRIORITY",
    "DELAYED",
    "QUICK",
];

fn plain(word: &Word) -> String {
    word.upper.trim_start_matches('`').to_owned()
}
