//! From the text of `beds.toml` and the environment to a [`Config`], or to every mistake in them at once.
//!
//! Not here: the keys (keys.rs), the types (config.rs).

mod callers;
mod combinations;
mod schedules;

use std::path::Path;

use toml::{Table, Value};

use super::keys::KEYS;
use super::transit;
use super::{Config, DEFAULTS, parse_duration};
use crate::text::is_name;
use crate::toml_check::{Checked, Key, Kind, check};
use crate::{Mistake, Store};

const PREFIX: &str = "BEDS__";

/// Reads a file that the configuration names, such as a secret. The binary hands in the file system.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<String>;

/// Reads the text of `beds.toml` over the defaults, then the environment over both.
///
/// `env` is the whole environment; only names that begin with `BEDS__` count. Paths in the file are relative to `base`.
pub fn load(
    file: &str,
    text: &str,
    base: &Path,
    env: impl IntoIterator<Item = (String, String)>,
    read: ReadFile<'_>,
) -> Result<Config, Vec<Mistake>> {
    let (config, refused) = inspect(file, text, base, env, read)?;
    if refused.is_empty() { Ok(config) } else { Err(refused) }
}

/// The same, with the combinations that keep a node from its start beside it: the files that it names can be looked at all the same.
pub fn inspect(
    file: &str,
    text: &str,
    base: &Path,
    env: impl IntoIterator<Item = (String, String)>,
    read: ReadFile<'_>,
) -> Result<(Config, Vec<Mistake>), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let checked = check(file, text, KEYS, &mut mistakes);
    let mut defaults_problems = Vec::new();
    let mut table = check("beds.default.toml", DEFAULTS, KEYS, &mut defaults_problems).table;
    debug_assert!(defaults_problems.is_empty(), "{defaults_problems:?}");
    merge(&mut table, checked.table.clone());
    overlay(&mut table, env, &mut mistakes);

    let mut rules = Rules { file, checked: &checked, table: &mut table, mistakes: &mut mistakes };
    rules.name();
    rules.one_of("node.environment", &["development", "production"]);
    rules.one_of("reports.log_level", &["off", "error", "warn", "info", "debug"]);
    rules.durations();
    rules.at_least_one();
    rules.addresses();
    rules.databases();
    rules.urls(base, read);
    mistakes.extend(callers::missing(file, &checked, &table));
    mistakes.extend(schedules::mistakes(file, &checked, &table));
    if !mistakes.is_empty() {
        mistakes.sort_by_key(|p| p.line);
        return Err(mistakes);
    }
    let mut config: Config = Value::Table(table).try_into().map_err(|e: toml::de::Error| {
        vec![Mistake::new(file, 1, e.message().to_owned(), "correct the value")]
    })?;
    config.templates.path = base.join(&config.templates.path);
    config.node.control = config.node.control.map(|path| base.join(path));
    let admin = &mut config.services.admin;
    admin.signing_key_file = admin.signing_key_file.take().map(|path| base.join(path));
    if let Some(tls) = &mut config.services.appserver.tls {
        tls.cert_file = base.join(&tls.cert_file);
        tls.key_file = base.join(&tls.key_file);
        tls.client_ca_file = tls.client_ca_file.take().map(|file| base.join(file));
    }
    config.auth.below(base);
    config.trust.below(base);
    config.reports.hash_keys.iter_mut().for_each(|file| *file = base.join(&*file));
    for database in config.databases.rel.values_mut() {
        database.ca_file = database.ca_file.take().map(|path| base.join(path));
    }
    let mut refused = combinations::refusals(file, &checked, &config);
    refused.extend(callers::refusals(file, &checked, &config));
    Ok((config, refused))
}

fn merge(base: &mut Table, over: Table) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(over)) => merge(inner, over),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// `BEDS__AMQP__URL=…` sets `amqp.url`. A database's name keeps the case that the file gives it, if the file names it.
fn overlay(
    table: &mut Table,
    env: impl IntoIterator<Item = (String, String)>,
    mistakes: &mut Vec<Mistake>,
) {
    for (variable, text) in env {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let wanted: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        let Some(key) = KEYS.iter().find(|key| fits(key, &wanted)) else {
            let fix = "name a key of beds.toml in capitals, its parts joined by two underscores";
            mistakes.push(Mistake::new(
                format!("environment variable {variable}"),
                0,
                "no such key",
                fix,
            ));
            continue;
        };
        let value = match key.kind {
            Kind::Integer => text.parse().ok().map(Value::Integer),
            Kind::Boolean => text.parse().ok().map(Value::Boolean),
            Kind::Texts => Some(list(&text)),
            _ => Some(Value::String(text)),
        };
        match value {
            Some(value) => set(table, &wanted, value),
            None => mistakes.push(Mistake::new(
                format!("environment variable {variable}"),
                0,
                format!(
                    "does not hold {}",
                    if key.kind == Kind::Integer { "a whole number" } else { "true or false" }
                ),
                "correct the value",
            )),
        }
    }
}

fn fits(key: &Key, wanted: &[String]) -> bool {
    let parts: Vec<&str> = key.path.split('.').collect();
    parts.len() == wanted.len()
        && parts.iter().zip(wanted).all(|(part, name)| *part == "*" || part == name)
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    // The one database that BEDS itself names has capitals in its name.
    let spelled =
        if *first == super::LOGS_DATABASE.to_lowercase() { super::LOGS_DATABASE } else { first };
    let name = table
        .keys()
        .find(|key| key.to_lowercase() == *first)
        .cloned()
        .unwrap_or_else(|| spelled.to_owned());
    if rest.is_empty() {
        // A url from the environment replaces a url_file from the file, and the other way round.
        let twin = if name == "url" { "url_file" } else { "url" };
        if name == "url" || name == "url_file" {
            table.remove(twin);
        }
        table.insert(name, value);
        return;
    }
    if let Value::Table(inner) = table.entry(name).or_insert_with(|| Value::Table(Table::new())) {
        set(inner, rest, value);
    }
}

struct Rules<'a> {
    file: &'a str,
    checked: &'a Checked,
    table: &'a mut Table,
    mistakes: &'a mut Vec<Mistake>,
}

impl Rules<'_> {
    fn refuse(&mut self, path: &str, message: String, fix: &str) {
        self.mistakes.push(Mistake::new(self.file, self.checked.line(path), message, fix));
    }

    fn text(&self, path: &str) -> Option<String> {
        get(self.table, path)?.as_str().map(str::to_owned)
    }

    fn name(&mut self) {
        let name = self.text("node.name").unwrap_or_default();
        if !is_name(&name) {
            let message = format!("`node.name` is {name:?}");
            self.refuse("node.name", message, "use 1 to 64 letters, digits, - or _");
        }
    }

    fn one_of(&mut self, path: &str, choices: &[&str]) {
        let value = self.text(path).unwrap_or_default();
        if !choices.contains(&value.as_str()) {
            self.refuse(
                path,
                format!("`{path}` is {value:?}"),
                &format!("write one of: {}", choices.join(", ")),
            );
        }
    }

    fn durations(&mut self) {
        let is_duration = |path: &str| {
            path.ends_with("_timeout")
                || path.ends_with("_interval")
                || path.ends_with("_grace")
                || path.ends_with("heartbeat")
                || matches!(path, "auth.leeway" | "auth.max_lifetime")
                || path.ends_with(".lease")
                || path.ends_with(".start_within")
                || path.ends_with(".keep")
        };
        for key in KEYS.iter().filter(|key| is_duration(key.path)) {
            let value = self.text(key.path).unwrap_or_default();
            if parse_duration(&value).is_none() {
                self.refuse(
                    key.path,
                    format!("`{}` is {value:?}", key.path),
                    "write a duration such as \"10s\" or \"250ms\"",
                );
            }
        }
    }

    fn at_least_one(&mut self) {
        for key in KEYS.iter().filter(|key| key.kind == Kind::Integer) {
            self.at_least_one_at(key.path);
        }
    }

    fn at_least_one_at(&mut self, path: &str) {
        let is_small = path.contains(".instances.") || path == "inbox.keep_days";
        let most = if is_small { i64::from(u16::MAX) } else { i64::from(i32::MAX) };
        let value = get(self.table, path).and_then(Value::as_integer).unwrap_or(1);
        if !(1..=most).contains(&value) {
            self.refuse(
                path,
                format!("`{path}` is {value}"),
                &format!("write a number from 1 to {most}"),
            );
        }
    }

    /// The name of a database is a part of the names of its queues.
    fn databases(&mut self) {
        for section in Store::ALL.map(|store| format!("databases.{store}")) {
            for name in names(self.table, &section) {
                let path = format!("{section}.{name}");
                if !is_name(&name) {
                    let message = format!("{name:?} is no name for a database");
                    self.refuse(&path, message, "use 1 to 64 letters, digits, - or _");
                }
                self.at_least_one_at(&format!("{path}.instances.read"));
                self.at_least_one_at(&format!("{path}.instances.write"));
            }
        }
    }

    fn addresses(&mut self) {
        for path in ["services.appserver.listen", "node.probes"] {
            let Some(value) = self.text(path) else { continue };
            if value.parse::<std::net::SocketAddr>().is_err() {
                let message = format!("`{path}` is {value:?}");
                self.refuse(
                    path,
                    message,
                    "write an address and a port, such as \"127.0.0.1:8080\"",
                );
            }
        }
    }

    /// Turns each `url_file` into its `url`, and asks for missing keys.
    fn urls(&mut self, base: &Path, read: ReadFile<'_>) {
        let mut sections = vec![("amqp".to_owned(), "amqp://user:password@host:5672/vhost")];
        for (store, sample) in
            [("rec", "mongodb://user:password@host/db"), ("rel", "mysql://user:password@host/db")]
        {
            let names = names(self.table, &format!("databases.{store}"));
            for section in names.into_iter().map(|name| format!("databases.{store}.{name}")) {
                let jobs = format!("{section}.jobs");
                sections.extend(get(self.table, &jobs).is_some().then_some((jobs, sample)));
                sections.push((section, sample));
            }
        }
        for (section, sample) in sections {
            self.url(&section, sample, base, read);
        }
    }

    fn url(&mut self, section: &str, sample: &str, base: &Path, read: ReadFile<'_>) {
        let ca = format!("{section}.ca_file");
        if let Some(file) = self.text(&ca)
            && let Err(error) = read(&base.join(&file))
        {
            self.refuse(
                &ca,
                format!("`{ca}`: cannot read {file}: {error}"),
                "name a file that this user can read",
            );
        }
        let (url, file) =
            (self.text(&format!("{section}.url")), self.text(&format!("{section}.url_file")));
        let url = match (url, file) {
            (Some(_), Some(_)) => {
                return self.refuse(
                    section,
                    format!("[{section}] has both url and url_file"),
                    "keep one of them",
                );
            }
            (None, None) => {
                let fix = format!("add url = \"{sample}\", or url_file");
                return self.refuse(section, format!("[{section}] has no url"), &fix);
            }
            (Some(url), None) => url,
            (None, Some(file)) => match read(&base.join(&file)) {
                Ok(text) => text.trim_end_matches(['\r', '\n']).to_owned(),
                Err(error) => {
                    let message = format!("`{section}.url_file`: cannot read {file}: {error}");
                    return self.refuse(
                        &format!("{section}.url_file"),
                        message,
                        "name a file that this user can read",
                    );
                }
            },
        };
        if let Err((message, fix)) = transit::scheme(&url, sample) {
            self.refuse(
                &format!("{section}.url"),
                format!("`{section}.url` {message}"),
                &format!("{fix}{sample}"),
            );
        }
        if let Some(Value::Table(table)) = get_mut(self.table, section) {
            table.remove("url_file");
            table.insert("url".to_owned(), Value::String(url));
        }
    }
}

/// The texts between commas.
fn list(text: &str) -> Value {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
}

/// The names in a section.
fn names(table: &Table, section: &str) -> Vec<String> {
    let section = get(table, section).and_then(Value::as_table);
    section.map(|section| section.keys().cloned().collect()).unwrap_or_default()
}

fn get<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    let mut parts = path.split('.');
    let mut value = table.get(parts.next()?)?;
    for part in parts {
        value = value.as_table()?.get(part)?;
    }
    Some(value)
}

fn get_mut<'t>(table: &'t mut Table, path: &str) -> Option<&'t mut Value> {
    let mut parts = path.split('.');
    let mut value = table.get_mut(parts.next()?)?;
    for part in parts {
        value = value.as_table_mut()?.get_mut(part)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests;
