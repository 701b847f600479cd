//! Combinations of values that do not go together: one value alone shows none of them.
//!
//! Not here: rules of one key (check.rs), of `[auth]` (check/callers.rs).

use crate::config::{Config, Environment, LOGS_DATABASE, TICKETS_DATABASE};
use crate::toml_check::Checked;
use crate::{Mistake, Store};

/// Combinations that no single value shows.
pub(super) fn refusals(file: &str, checked: &Checked, config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let gateway = &config.services.appserver;
    let is_encrypted = gateway.tls.is_some() || gateway.behind_proxy;
    let is_production = config.node.environment == Environment::Production;
    if gateway.is_local && !is_encrypted && (is_production || !gateway.listen.ip().is_loopback()) {
        let place = if is_production { "in production" } else { "off loopback" };
        mistakes.push(Mistake::new(
            file,
            checked.line("services.appserver.listen"),
            format!("the gateway would take credentials in plain text {place}"),
            "set services.appserver.tls with cert_file and key_file, or behind_proxy = true where a proxy has the certificate",
        ));
    }
    if gateway.default_timeout > gateway.max_timeout {
        let line = checked.line("services.appserver.default_timeout");
        mistakes.push(Mistake::new(
            file,
            line,
            "default_timeout is longer than max_timeout",
            "raise max_timeout",
        ));
    }
    let stores = Store::ALL.iter().any(|store| config.services.store(*store).is_local);
    if is_production && stores && config.reports.audit && config.reports.hash_keys.is_empty() {
        mistakes.push(Mistake::new(
            file,
            checked.line("reports.audit"),
            "the audit trail would not tell who saw a record: reports.hash_keys is not set",
            "make a key with `beds keys hash secrets/hash.key`, give it to all nodes, and name it in reports.hash_keys",
        ));
    }
    if config.services.admin.is_local && !config.databases.rec.contains_key(LOGS_DATABASE) {
        mistakes.push(Mistake::new(
            file,
            checked.line("services.admin.is_local"),
            "services.admin is local, but there is no database for the reports that it stores",
            "add [databases.rec.msLogs] with a url, or set is_local = false",
        ));
    }
    if config.services.calgon.is_local && !config.databases.rec.contains_key(TICKETS_DATABASE) {
        mistakes.push(Mistake::new(
            file,
            checked.line("services.calgon.is_local"),
            "services.calgon is local, but there is no database for tickets",
            "add [databases.rec.beds] with a url, or set is_local = false",
        ));
    }
    for store in Store::ALL {
        if config.services.store(store).is_local && config.databases.of(store).is_empty() {
            mistakes.push(Mistake::new(
                file,
                checked.line(&format!("services.{store}.is_local")),
                format!("services.{store} is local, but there is no database for it"),
                format!("add [databases.{store}.main] with a url, or set is_local = false"),
            ));
        }
    }
    mistakes
}
