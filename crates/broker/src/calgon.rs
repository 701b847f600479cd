//! Tickets: work that takes long, asked for now and done as soon as a task is free, whatever is restarted meanwhile. Requests come through
//! the queue `calgon`; the store of tickets is the queue of the work itself.
//!
//! Not here: the routes of tickets (crate gateway), the work in a database (crate adapters).

mod child;
pub(crate) mod desk;
mod lease;
mod outcome;
mod report;
mod run;
pub(crate) mod runner;
mod sink;
mod store;
mod tools;

pub(crate) use runner::Runner;
pub(crate) use tools::Tools;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use beds_core::{Result, config};
use tokio::sync::Notify;

/// How long a count of all tickets is believed.
const COUNTED_AGAIN: Duration = Duration::from_secs(1);

/// The settings of tickets, and the bell by which a desk tells the tasks of its own node that there is work.
#[derive(Debug, Clone)]
pub struct Calgon {
    pub(crate) config: config::Calgon,
    pub(crate) bell: Arc<Notify>,
    pub(crate) crowd: Arc<Crowd>,
}

/// Whether too many tickets wait, of all callers.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<Option<(Instant, u32)>>);

impl Calgon {
    pub fn new(config: &config::Calgon) -> Self {
        Self { config: config.clone(), bell: Arc::default(), crowd: Arc::default() }
    }
}

impl Crowd {
    /// True where `most` or more wait. `count` takes a look at each of them, so its word is believed for a second.
    async fn is_over<F: Future<Output = Result<u32>>>(
        &self,
        most: u32,
        count: impl FnOnce() -> F,
    ) -> Result<bool> {
        let counted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = match counted.filter(|(at, _)| at.elapsed() < COUNTED_AGAIN) {
            Some((_, counted)) => counted,
            None => {
                let counted = count().await?;
                let now = Some((Instant::now(), counted));
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
                counted
            }
        };
        Ok(counted >= most)
    }
}
