//! [`Runner`]: a task that takes tickets, one after the other, and does their work. Any number of them run on any number of nodes.
//!
//! Not here: one attempt at a ticket (run.rs), the moves in the store (store.rs).

use std::time::{Duration, Instant};

use beds_core::ticket::Ticket;
use beds_core::{ErrorKind, Result};

use super::run::Run;
use super::store::{self, Store};
use super::tools::Tools;

/// Between two looks for work of which no bell has told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The longest before a ticket is claimed again for which there was no place after all.
const PLACE_AGAIN: Duration = Duration::from_millis(500);
/// Between two looks for tickets that were not begun in time.
const SWEEP_AGAIN: Duration = Duration::from_secs(60);

/// One of the tasks.
#[derive(Clone)]
pub(crate) struct Runner(pub(crate) Tools);

impl Runner {
    /// Works until the pools stop. A ticket that is under way then is handed over.
    pub(crate) async fn serve(self) {
        let (mut swept, mut away) = (None, None);
        while !self.0.stop.is_cancelled() {
            let bell = self.0.calgon.bell.notified();
            tokio::pin!(bell);
            // Listens from here on: a ticket that comes while this one looks is not missed.
            bell.as_mut().enable();
            // One task of a node is enough: the look takes in all tickets that wait.
            if self.0.is_first && swept.is_none_or(|at: Instant| at.elapsed() > SWEEP_AGAIN) {
                swept = Some(Instant::now());
                self.sweep().await;
            }
            let asked = Instant::now();
            match self.take(away).await {
                Ok(Some(ticket)) => {
                    Run::new(&self.0, &ticket, asked).work().await;
                    // A place at a time is free again, or the next ticket waits.
                    self.0.calgon.bell.notify_waiters();
                    continue;
                }
                Ok(None) => {}
                Err(error) if error.kind == ErrorKind::UnknownTemplate => {}
                Err(error) => {
                    away = Some(Instant::now());
                    tracing::debug!(%error, "Tickets cannot be looked for.");
                }
            }
            // Spread, so that nodes do not all ask at once.
            let pause = (LOOK_AGAIN + by_chance(LOOK_AGAIN)) * 2 / 3;
            tokio::select! {
                () = self.0.stop.cancelled() => {}
                () = bell => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// A ticket whose node has fallen silent, else the next one that waits.
    ///
    /// `away`: when the store was away last. No node could speak then: those that live have their time first to do so.
    async fn take(&self, away: Option<Instant>) -> Result<Option<Ticket>> {
        let (store, lease) = (Store(&self.0.factory), self.0.calgon.config.lease);
        let node = self.0.reports.node();
        let is_calm = away.is_none_or(|at| at.elapsed() > lease / 2);
        if is_calm && let Some(ticket) = store.take_over(node, lease).await? {
            return Ok(Some(ticket));
        }
        let full = store.full(false).await?;
        let Some(ticket) = store.claim(node, lease, &full).await? else { return Ok(None) };
        // Two tasks may have found the same free place: neither has begun, and both give it back where it is one too many.
        let place = store::place(&ticket.template, ticket.job.as_deref());
        if ticket.job.is_some() && store.full(true).await?.contains(&place) {
            store.give_back(&ticket, false, by_chance(PLACE_AGAIN)).await?;
            return Ok(None);
        }
        Ok(Some(ticket))
    }

    async fn sweep(&self) {
        if let Err(error) = Store(&self.0.factory).lapse(self.0.calgon.config.keep).await {
            tracing::debug!(%error, "Tickets that were not begun in time could not be ended.");
        }
    }
}

/// A part of a time, by chance.
fn by_chance(most: Duration) -> Duration {
    let part = uuid::Uuid::new_v4().as_u128() % most.as_millis().max(1);
    Duration::from_millis(u64::try_from(part).unwrap_or(0))
}
