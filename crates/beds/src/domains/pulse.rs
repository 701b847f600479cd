//! The pulse of a node: its regular look at each database. One that came back is bound, and so is one whose objects changed.
//!
//! Not here: binding and its results (../domains.rs), the ping itself (crate adapters).

use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Result, Store};
use futures_util::future::join_all;

use super::Domains;

/// How often each database is asked whether it is there, and how often while it is not.
const PULSE: Duration = Duration::from_secs(1);
const PULSE_OF_MISSING: Duration = Duration::from_millis(250);

/// Seconds that clocks may be apart before it is said: less than the deadlines of most requests.
const CLOCK_WARNED: f64 = 2.0;

impl Domains {
    /// Asks each database for its pulse, and binds the ones that were not there before, and those whose objects have
    /// changed. Runs for as long as the node. One that is silent holds up no other.
    pub async fn watch(&self) {
        let names = self.stores.names();
        join_all(names.iter().map(|(store, name, _)| self.watch_one(*store, name))).await;
    }

    async fn watch_one(&self, store: Store, name: &str) {
        loop {
            let was_missing = self.is_missing(store, name);
            tokio::time::sleep(if was_missing { PULSE_OF_MISSING } else { PULSE }).await;
            match self.look(store, name).await {
                // It answers; whether it can be used is known when its templates are bound.
                Ok(true) => self.bind_late(store, name).await,
                Ok(false) => {
                    self.note(store, name, |state| state.missing = None);
                    if was_missing {
                        tracing::info!(%store, database = name, "A database is there.");
                    }
                }
                Err(error) => {
                    self.note(store, name, |state| state.missing = Some(error.message.clone()));
                    if !was_missing {
                        let source = source(&error);
                        tracing::warn!(%store, database = name, error = error.message, source, "A database went away.");
                    }
                }
            }
            self.look_at_clock(store, name);
        }
    }

    /// Whether the templates of a database have to be bound: they are not, or its objects are not those that were.
    ///
    /// # Errors
    /// The database is away, or this login may not call BEDS's own objects in it any more, such as after a restore.
    async fn look(&self, store: Store, name: &str) -> Result<bool> {
        self.stores.ping(store, name).await?;
        if !self.is_bound(store, name) {
            return Ok(true);
        }
        match self.stores.version(store, name).await {
            // Not to be told yet: a moment later it is.
            Ok(None) => Ok(false),
            Ok(version) => Ok(self.note(store, name, |state| state.version != version)),
            Err(error) if error.kind == ErrorKind::TemplateUnusable => {
                self.note(store, name, |state| state.is_bound = false);
                Err(error)
            }
            // The ping was answered, so a failed look at the version is no outage.
            Err(error) => {
                tracing::debug!(%store, database = name, source = source(&error), "The version of a database is unknown.");
                Ok(false)
            }
        }
    }

    /// Warns once of clocks that are apart: deadlines are times of the node that sent a request.
    fn look_at_clock(&self, store: Store, name: &str) {
        let Some(ahead) = self.stores.clock_ahead(store, name) else { return };
        metrics::gauge!("beds_clock_ahead_seconds", "database" => format!("{store}.{name}"))
            .set(ahead);
        let is_apart = ahead.abs() > CLOCK_WARNED;
        let was_apart = self.note(store, name, |state| {
            state.clock_ahead = ahead;
            std::mem::replace(&mut state.is_clock_apart, is_apart)
        });
        if is_apart && !was_apart {
            tracing::warn!(%store, database = name, ahead, "The clocks of a database and of this node are apart; use NTP on both.");
        }
    }

    async fn bind_late(&self, store: Store, name: &str) {
        match self.bind(store, name).await {
            Ok(mistakes) => {
                tracing::info!(%store, database = name, "The templates of a database were bound.");
                mistakes.iter().for_each(|mistake| tracing::warn!("{mistake}"));
            }
            Err(error) => {
                let message = error.message.clone();
                let is_news = self.note(store, name, |state| {
                    state.missing.replace(message.clone()) != Some(message)
                });
                if is_news {
                    tracing::warn!(%store, database = name, error = error.message, "A database cannot be bound yet.");
                }
            }
        }
    }
}

fn source(error: &BedsError) -> String {
    error.source.as_ref().map_or_else(|| error.message.clone(), ToString::to_string)
}
