//! The rules of `[schedules]`.
//!
//! Not here: whether template, job and identity are there, which the binary looks at when it has read their files.

use toml::{Table, Value};

use super::{get, names};
use crate::Mistake;
use crate::config::schedule;
use crate::text::is_name;
use crate::toml_check::Checked;

/// Mistakes in the schedules.
pub(super) fn mistakes(file: &str, checked: &Checked, table: &Table) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for name in names(table, "schedules") {
        let place = format!("schedules.{name}");
        let text = |key: &str| get(table, &format!("{place}.{key}")).and_then(Value::as_str);
        let mut refuse = |key: &str, message: String, fix: &str| {
            let path = if key.is_empty() { place.clone() } else { format!("{place}.{key}") };
            mistakes.push(Mistake::new(file, checked.line(&path), message, fix));
        };
        if !is_name(&name) {
            let message = format!("{name:?} is no name for a schedule");
            refuse("", message, "use 1 to 64 letters, digits, - or _");
        }
        for (key, fix) in [
            ("template", "name the template, such as template = \"Flights\""),
            ("job", "name a job of the template"),
            ("cron", "say when, such as cron = \"0 3 * * *\""),
            (
                "as",
                "name the identity that it runs as, such as as = \"app:nightly\": a subject of the file of keys",
            ),
        ] {
            if text(key).is_none() {
                refuse("", format!("[{place}] has no `{key}`"), fix);
            }
        }
        if text("as").is_some_and(|subject| !subject.starts_with("app:")) {
            let fix = "name a subject of the file of keys, which begins with app:";
            refuse("as", format!("`{place}.as` is no subject of a key"), fix);
        }
        let read =
            schedule::read(text("cron").unwrap_or("0 0 * * *"), text("time_zone").unwrap_or("UTC"));
        if let Err((key, reason)) = read {
            let fix = match key {
                "cron" => {
                    "write minute, hour, day of month, month and day of week, such as \"0 3 * * mon-fri\""
                }
                _ => {
                    "write a name such as \"Europe/Berlin\", and install the database of time zones (tzdata)"
                }
            };
            refuse(key, format!("`{place}.{key}` {reason}"), fix);
        }
        for (key, words) in [("overlap", ["skip", "queue"]), ("missed", ["last", "none"])] {
            if text(key).is_some_and(|word| !words.contains(&word)) {
                let fix = format!("write {} or {}", words[0], words[1]);
                refuse(
                    key,
                    format!("`{place}.{key}` is neither {} nor {}", words[0], words[1]),
                    &fix,
                );
            }
        }
    }
    mistakes
}
