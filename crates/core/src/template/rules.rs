//! Names that a template must not have, and how an object is written: rules over more than one key.
//!
//! Not here: which keys there are, which is the table of the parent's.

use toml::Value;

use crate::config::LOGS_DATABASE;
use crate::text::quote;
use crate::toml_check::Checked;
use crate::{Mistake, is_database_name};

/// Reports broken rules.
pub(super) fn check(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    let text = |key: &str| checked.table.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_of_reports = text("store") == "rec" && text("database") == LOGS_DATABASE;
    if let Some(name) = checked.table.get("database").and_then(Value::as_str).filter(|name| !is_database_name(name)) {
        let message = format!("{} is no name for a database", quote(name));
        mistakes.push(Mistake::new(file, checked.line("database"), message, "use 1 to 64 letters, digits, - or _"));
    }
    for section in ["objects", "fetches", "jobs"] {
        let Some(Value::Table(table)) = checked.table.get(section) else { continue };
        for (name, value) in table {
            let line = checked.line(&format!("{section}.{name}"));
            let mut refuse = |message: String, fix: &str| mistakes.push(Mistake::new(file, line, message, fix));
            let object = match value {
                Value::String(object) => Some(object.as_str()),
                value => value.get("object").and_then(Value::as_str),
            };
            let Some(object) = object else {
                refuse(format!("[{section}.{name}] names no object"), "add object = \"…\"");
                continue;
            };
            if !matches!(value.get("answer").and_then(Value::as_str), None | Some("record" | "all")) {
                let fix = "write all to get result_sets and out beside the record, or leave it out";
                refuse("`answer` is neither record nor all".to_owned(), fix);
            }
            if object.to_ascii_lowercase().starts_with("beds_") {
                refuse(format!("{object} belongs to BEDS itself"), "name an object of your own domain");
            }
            if is_of_reports && section == "objects" && matches!(name.as_str(), "create" | "update" | "delete") {
                let message = format!("only nodes write into the database {LOGS_DATABASE}, which holds their reports");
                refuse(message, "remove it; the reports can be read");
            }
        }
    }
}
