//! Rules of `[changes]`: its scope names the facts about a caller by which `[rows]` chooses rows, all of them and no others.
//!
//! Not here: the objects behind the template, which the adapters look at.

use toml::{Table, Value};

use super::super::changes::SUBJECT;
use crate::Mistake;
use crate::text::quote;
use crate::toml_check::Checked;

/// Reports broken rules.
pub(super) fn check(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    let table = |key: &str| checked.table.get(key).and_then(Value::as_table);
    let Some(changes) = table("changes") else { return };
    let is_on = changes.get("on").and_then(Value::as_bool).unwrap_or(false);
    let scope = changes.get("scope").and_then(Value::as_table);
    let scoped: Vec<&str> =
        scope.into_iter().flat_map(Table::values).filter_map(Value::as_str).collect();
    let rows = demanded(table("rows"));
    if let Some(open) = rows.iter().find(|by| is_on && !scoped.contains(&by.as_str())) {
        let message = format!(
            "[rows] chooses by {}, and the scope under [changes] leaves it out",
            quote(open)
        );
        let fix = "name the field of a record that holds it, such as scope = { tenant = \"tenant\", owner = \"@subject\" }";
        mistakes.push(Mistake::new(file, checked.line("changes.on"), message, fix));
    }
    for (field, by) in scope.into_iter().flatten() {
        let by = by.as_str().unwrap_or_default();
        if !rows.iter().any(|row| row == by) {
            let message = format!(
                "`changes.scope.{field}` is {}, by which [rows] does not choose",
                quote(by)
            );
            let fix = "add the claim to [rows] claims, or owner = true for @subject: the writes must choose by it too";
            mistakes.push(Mistake::new(
                file,
                checked.line(&format!("changes.scope.{field}")),
                message,
                fix,
            ));
        }
    }
}

/// The facts by which rows are chosen, as a scope names them.
fn demanded(rows: Option<&Table>) -> Vec<String> {
    let claims = rows.and_then(|rows| rows.get("claims")).and_then(Value::as_array);
    let claims = claims.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let is_owned = rows.and_then(|rows| rows.get("owner")).and_then(Value::as_bool) == Some(true);
    claims.chain(is_owned.then(|| SUBJECT.to_owned())).collect()
}
