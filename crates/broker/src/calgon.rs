//! Tickets: work that takes long, asked for now and done as soon as a task is free, whatever is restarted meanwhile. Requests come through
//! the queue `calgon`; the store of tickets is the queue of the work itself.
//!
//! Not here: the routes of tickets (crate gateway), the work in a database (crate adapters).

mod believed;
mod child;
pub(crate) mod desk;
mod hands;
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beds_core::{Result, config};
use believed::Believed;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How long a count of all tickets is believed.
const COUNTED_AGAIN: Duration = Duration::from_secs(1);

/// The settings of tickets, and the ways by which a desk gives work to the tasks of its own node.
#[derive(Debug, Clone)]
pub struct Calgon {
    pub(crate) config: config::Calgon,
    pub(crate) inbox: config::Inbox,
    pub(crate) schedules: Arc<BTreeMap<String, config::Schedule>>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) hands: Arc<hands::Hands>,
    pub(crate) crowd: Arc<Crowd>,
    /// That no node has fallen silent.
    pub(crate) all_speak: Arc<Believed<()>>,
    /// The places with as many runs as they may have.
    pub(crate) full: Arc<Believed<Vec<String>>>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) turns: Arc<turns::Turns>,
}

/// Word of tickets that wait. One task hears it, and all see it when they have ended their tickets.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    notify: Notify,
    rung: AtomicBool,
}

impl Bell {
    /// A ticket waits.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits for the next ring.
    pub(crate) fn heard(&self) -> Notified<'_> {
        self.notify.notified()
    }

    /// True where a ticket may wait.
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// A task looks now. Where it finds a ticket, there may be more: it rings for the next task.
    pub(crate) fn looks(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

/// Whether too many tickets wait, of all callers.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Believed<u32>);

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
            hands: Arc::default(),
            crowd: Arc::default(),
            all_speak: Arc::default(),
            full: Arc::default(),
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
        let counted = match self.0.get(COUNTED_AGAIN) {
            Some(counted) => counted,
            None => {
                let counted = count().await?;
                self.0.note(counted);
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
