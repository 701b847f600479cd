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

/// One of the tasks.
#[derive(Clone)]
pub(crate) struct Runner(pub(crate) Tools);

impl Runner {
    /// Works until the pools stop. A ticket that is under way then is handed over.
    pub(crate) async fn serve(self) {
        let (mut away, mut looked) = (None, None);
        while !self.0.stop.is_cancelled() {
            let bell = self.0.calgon.bell.notified();
            tokio::pin!(bell);
            // Listens from here on: a ticket that comes while this one looks is not missed.
            bell.as_mut().enable();
            let asked = Instant::now();
            match self.take(away, &mut looked).await {
                Ok(Some(ticket)) => {
                    Run::new(&self.0, &ticket, asked).work().await;
                    self.0.calgon.pace.note(asked.elapsed());
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
    /// `looked`: when a ticket of a silent node was looked for last.
    async fn take(
        &self,
        away: Option<Instant>,
        looked: &mut Option<Instant>,
    ) -> Result<Option<Ticket>> {
        let (store, lease) = (Store(&self.0.factory), self.0.calgon.config.lease);
        let node = self.0.reports.node();
        let is_calm = away.is_none_or(|at| at.elapsed() > lease / 2);
        if is_calm && looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN / 2) {
            if let Some(ticket) = store.take_over(node, lease).await? {
                return Ok(Some(ticket));
            }
            *looked = Some(Instant::now());
        }
        let limits = self.0.factory.limited_jobs();
        let full = store.full(&limits, false).await?;
        let Some(ticket) = store.claim(node, lease, &full).await? else { return Ok(None) };
        // Two tasks may have found the same free place: neither has begun, and both give it back where it is one too many.
        let place = store::place(&ticket.template, ticket.job.as_deref());
        if limits.contains_key(&place) && store.full(&limits, true).await?.contains(&place) {
            store.give_back(&ticket, false, by_chance(PLACE_AGAIN)).await?;
            return Ok(None);
        }
        Ok(Some(ticket))
    }
}

/// A part of a time, by chance.
fn by_chance(most: Duration) -> Duration {
    let part = uuid::Uuid::new_v4().as_u128() % most.as_millis().max(1);
    Duration::from_millis(u64::try_from(part).unwrap_or(0))
}
