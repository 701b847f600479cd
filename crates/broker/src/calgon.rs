//! Tickets: work that takes long, asked for now and done as soon as a task is free, whatever is restarted meanwhile. Requests come through
//! the queue `calgon`; the store of tickets is the queue of the work itself.
//!
//! Not here: the routes of tickets (crate gateway), the work in a database (crate adapters).

mod child;
pub(crate) mod desk;
mod keeper;
mod lease;
mod outcome;
mod report;
mod run;
pub(crate) mod runner;
mod scheduler;
mod sink;
mod store;
mod tools;
mod turns;

pub(crate) use keeper::Keeper;
pub(crate) use runner::Runner;
pub(crate) use scheduler::Scheduler;
pub(crate) use tools::Tools;

use std::collections::BTreeMap;
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
    pub(crate) inbox: config::Inbox,
    pub(crate) schedules: Arc<BTreeMap<String, config::Schedule>>,
    pub(crate) bell: Arc<Notify>,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) turns: Arc<turns::Turns>,
}

/// Whether too many tickets wait, of all callers.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<Option<(Instant, u32)>>);

/// How long tickets take on this node, so that a caller who is refused learns when a place may be free.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<f64>>);

impl Pace {
    /// The weight of the last ticket in the mean.
    const LAST: f64 = 0.2;
    const LONGEST: f64 = 60.0;

    /// One was worked on for so long.
    pub(crate) fn note(&self, took: Duration) {
        let mut mean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = took.as_secs_f64();
        *mean = Some(mean.map_or(took, |mean| mean + Self::LAST * (took - mean)));
    }

    /// Whole seconds, 1 to 60, until one of so many tasks takes the next ticket.
    pub(crate) fn next_place(&self, tasks: u16) -> u16 {
        let mean = (*self.0.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or(0.0);
        (mean / f64::from(tasks.max(1))).ceil().clamp(1.0, Self::LONGEST) as u16
    }
}

impl Calgon {
    pub fn new(config: &config::Config) -> Self {
        let schedules = Arc::new(config.schedules.clone());
        let inbox = config.inbox;
        let config = config.services.calgon.clone();
        Self {
            config,
            inbox,
            schedules,
            bell: Arc::default(),
            crowd: Arc::default(),
            pace: Arc::default(),
            turns: Arc::default(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_promised_by_the_time_that_tickets_take() {
        let pace = Pace::default();
        assert_eq!(pace.next_place(4), 1);
        pace.note(Duration::from_secs(40));
        assert_eq!(pace.next_place(4), 10);
        pace.note(Duration::from_secs(4000));
        assert_eq!((pace.next_place(4), pace.next_place(40)), (60, 21));
    }
}
