//! Names that a template must not have, and how an object is written: rules over more than one key.
//!
//! Not here: which keys there are, which is the table of the parent's.

pub(super) mod access;
mod changes;

use toml::Value;

use super::job::{JobKind, LONGEST};
use crate::Mistake;
use crate::config::{LOGS_DATABASE, TICKETS_DATABASE, parse_duration};
use crate::text::{is_name, quote};
use crate::toml_check::Checked;

/// Reports broken rules.
pub(super) fn check(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    let text = |key: &str| checked.table.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_of_reports = text("store") == "rec" && text("database") == LOGS_DATABASE;
    reserved(file, checked, mistakes);
    if let Some(name) =
        checked.table.get("database").and_then(Value::as_str).filter(|name| !is_name(name))
    {
        let message = format!("{} is no name for a database", quote(name));
        mistakes.push(Mistake::new(
            file,
            checked.line("database"),
            message,
            "use 1 to 64 letters, digits, - or _",
        ));
    }
    for section in ["objects", "fetches", "jobs"] {
        let Some(Value::Table(table)) = checked.table.get(section) else { continue };
        for (name, value) in table {
            let line = checked.line(&format!("{section}.{name}"));
            let mut refuse =
                |message: String, fix: &str| mistakes.push(Mistake::new(file, line, message, fix));
            let object = match value {
                Value::String(object) => Some(object.as_str()),
                value => value.get("object").and_then(Value::as_str),
            };
            let Some(object) = object else {
                refuse(format!("[{section}.{name}] names no object"), "add object = \"…\"");
                continue;
            };
            if section == "jobs" {
                job(name, value, &mut refuse);
            }
            if !matches!(value.get("answer").and_then(Value::as_str), None | Some("record" | "all"))
            {
                let fix = "write all to get result_sets and out beside the record, or leave it out";
                refuse("`answer` is neither record nor all".to_owned(), fix);
            }
            // MariaDB finds a routine in any mix of capitals, so BEDS_x is beds_x.
            if object.to_ascii_lowercase().starts_with("beds_") {
                refuse(
                    format!("{object} belongs to BEDS itself"),
                    "name an object of your own domain",
                );
            }
            if is_of_reports
                && section == "objects"
                && matches!(name.as_str(), "create" | "update" | "delete")
            {
                let message = format!(
                    "only nodes write into the database {LOGS_DATABASE}, which holds their reports"
                );
                refuse(message, "remove it; the reports can be read");
            }
        }
    }
}

/// Reports things that are for BEDS's own templates alone.
fn reserved(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    let text = |key: &str| checked.table.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("store") == "rec" && text("database") == TICKETS_DATABASE {
        let message =
            format!("the database {TICKETS_DATABASE} holds tickets, and no template of yours");
        mistakes.push(Mistake::new(
            file,
            checked.line("database"),
            message,
            "name another database",
        ));
    }
    if checked.table.contains_key("acts") {
        let message = "[acts] is for BEDS's own templates alone".to_owned();
        mistakes.push(Mistake::new(file, checked.line("acts"), message, "remove it"));
    }
}

/// Reports values that a job cannot have.
fn job(name: &str, value: &Value, refuse: &mut impl FnMut(String, &str)) {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let kind =
        JobKind::ALL.into_iter().find(|kind| kind.as_str() == text("kind").unwrap_or("read"));
    let Some(kind) = kind else {
        let fix = "write read, steps or merge, or leave it out";
        return refuse(format!("[jobs.{name}] has a kind that is none"), fix);
    };
    let mut only_of = |kinds: &[JobKind], key: &str| {
        if value.get(key).is_some() && !kinds.contains(&kind) {
            let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            let fix = format!("remove it; it is for the kind {}", words.join(" or "));
            refuse(format!("`{key}` has no meaning for the kind {}", kind.as_str()), &fix);
        }
    };
    only_of(&[JobKind::Steps], "limit");
    only_of(&[JobKind::Merge], "publish");
    only_of(&[JobKind::Read], "total");
    only_of(&[JobKind::Read, JobKind::Merge], "result_max_mib");
    if kind == JobKind::Merge && text("publish").is_none() {
        let fix =
            "add publish = \"…\": the named operation that makes the merged documents visible";
        refuse(format!("[jobs.{name}] merges and publishes nothing"), fix);
    }
    for key in ["total", "publish"] {
        if text(key).is_some_and(|object| object.to_ascii_lowercase().starts_with("beds_")) {
            let fix = "name an object of your own domain";
            refuse(format!("`{key}` names an object that belongs to BEDS itself"), fix);
        }
    }
    for key in ["timeout", "result_ttl"] {
        let text = text(key);
        let fits = |text: &str| parse_duration(text).is_some_and(|duration| duration <= LONGEST);
        if text.is_some_and(|text| !fits(text)) {
            let fix = "write a duration of at most seven days, such as \"30m\"";
            refuse(format!("`{key}` is no duration that a job can have"), fix);
        }
    }
    for key in ["attempts", "max_running", "result_max_mib", "limit"] {
        let number = value.get(key).and_then(Value::as_integer);
        if number.is_some_and(|number| !(1..=i64::from(u16::MAX)).contains(&number)) {
            refuse(
                format!("`{key}` is not from 1 to {}", u16::MAX),
                "write a whole number in that range",
            );
        }
    }
}

/// Reports keys that are missing, and words that are none of those that a key takes.
pub(super) fn words(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    for key in ["name", "store", "database", "id"] {
        // A key of the wrong type is told already, and was left out of the table.
        let is_told = || mistakes.iter().any(|told| told.message.contains(&format!("`{key}`")));
        if !checked.table.contains_key(key) && !is_told() {
            let fix = format!("add {key} = \"…\" at the top");
            mistakes.push(Mistake::new(file, 1, format!("`{key}` is missing"), fix));
        }
    }
    let required = "write required to refuse requests that cannot be recorded, or leave it out";
    for (key, words, fix) in [
        ("store", ["rec", "rel"], "write rec for MongoDB or rel for MariaDB"),
        ("audit", ["normal", "required"], required),
    ] {
        let word = checked.table.get(key).and_then(Value::as_str);
        if word.is_some_and(|word| !words.contains(&word)) {
            let message = format!("`{key}` is neither {} nor {}", words[0], words[1]);
            mistakes.push(Mistake::new(file, checked.line(key), message, fix));
        }
    }
}

/// Reports names that cannot stand in a URL, or in `[access]`.
pub(super) fn names(file: &str, checked: &Checked, mistakes: &mut Vec<Mistake>) {
    access::check(file, checked, mistakes);
    access::check_fields(file, checked, mistakes);
    changes::check(file, checked, mistakes);
    for path in ["name", "fetches", "jobs"] {
        let names: Vec<(&str, String)> = match checked.table.get(path) {
            Some(Value::String(name)) => vec![(name, path.to_owned())],
            Some(Value::Table(table)) => {
                table.keys().map(|name| (name.as_str(), format!("{path}.{name}"))).collect()
            }
            _ => continue,
        };
        for (name, key) in names.into_iter().filter(|(name, _)| !is_name(name)) {
            let fix = "use 1 to 64 letters, digits, - or _, because it stands in URLs";
            let message = format!("{name:?} cannot be a name");
            mistakes.push(Mistake::new(file, checked.line(&key), message, fix));
        }
    }
}
