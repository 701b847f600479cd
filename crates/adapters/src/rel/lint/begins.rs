//! Where a statement begins, among the words of a body.
//!
//! Not here: the words, which are `words`'s; the statements, which are `statements`'s.

use super::words::Word;

/// The word in a place; an empty text behind the last.
pub(super) fn at(words: &[Word], i: usize) -> &str {
    words.get(i).map_or("", |word| word.upper.as_str())
}

/// True where a statement begins: at the front, behind a word that ends or opens one, or behind the conditions of a handler.
pub(super) fn begins(words: &[Word], i: usize) -> bool {
    let Some(before) = i.checked_sub(1).map(|before| at(words, before)) else { return true };
    if OPENING.contains(&before) {
        return true;
    }
    let statement = statement(words, i);
    let is_set_for = before == "FOR"
        && matches!(statement, [set, what, ..] if set.is("SET") && what.is("STATEMENT"));
    is_set_for
        || matches!(statement, [declare, _, handler, ..] if declare.is("DECLARE") && handler.is("HANDLER"))
}

/// True in a SET of variables; a column that an UPDATE sets is none.
pub(super) fn is_in_set(words: &[Word], i: usize) -> bool {
    let begin = i - statement(words, i).len();
    (begin..i).any(|at| words[at].is("SET") && begins(words, at))
}

/// The words of a statement before one of them.
fn statement(words: &[Word], i: usize) -> &[Word] {
    let begin = words[..i]
        .iter()
        .rposition(|word| OPENING.contains(&word.upper.as_str()))
        .map_or(0, |at| at + 1);
    &words[begin..i]
}

/// The words that a statement stands behind.
const OPENING: &[&str] = &[";", "BEGIN", "ATOMIC", "THEN", "ELSE", "DO", "LOOP", "REPEAT"];
