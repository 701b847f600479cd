//! [`Runner`]: a task that takes tickets, one after the other, and does their work. Any number of them run on any number of nodes.
//!
//! Not here: one attempt at a ticket (run.rs), the moves in the store (store.rs).

use std::time::{Duration, Instant};

use beds_core::ticket::Ticket;
use beds_core::{ErrorKind, Result};

use super::hands::Handed;
use super::run::Run;
use super::store::{self, Store};
use super::tools::Tools;

/// Between two looks for work of which no bell has told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the full places of jobs with a limit are believed. Runs of other nodes that begin and end meanwhile are not seen so long.
const FULL_FOR: Duration = Duration::from_millis(200);
/// The longest before a ticket is claimed again for which there was no place after all.
const PLACE_AGAIN: Duration = Duration::from_millis(500);

/// One of the tasks.
#[derive(Clone)]
pub(crate) struct Runner(pub(crate) Tools);

impl Runner {
    /// Works until the pools stop. A ticket that is under way then is handed over.
    pub(crate) async fn serve(self) {
        let calgon = &self.0.calgon;
        let mut looks = Looks { away: None, again: Instant::now() };
        let mut heard = false;
        while !self.0.stop.is_cancelled() {
            let bell = calgon.bell.heard();
            tokio::pin!(bell);
            // Listens from here on: a ticket that comes while this one looks is not missed.
            bell.as_mut().enable();
            let asked = Instant::now();
            if std::mem::take(&mut heard) || calgon.bell.is_rung() || asked >= looks.again {
                if let Some(ticket) = self.look(&mut looks).await {
                    self.work(&ticket, asked).await;
                    continue;
                }
                // Spread, so that nodes do not all ask at once.
                looks.again = Instant::now() + (LOOK_AGAIN + by_chance(LOOK_AGAIN)) * 2 / 3;
            }
            let mut waiter = calgon.hands.wait(self.0.reports.node());
            let given = tokio::select! {
                given = waiter.given() => given,
                () = self.0.stop.cancelled() => waiter.leave().await,
                () = bell => {
                    heard = true;
                    if waiter.is_taken() {
                        // Another task hears it: this one has its ticket.
                        calgon.bell.ring();
                    }
                    waiter.leave().await
                }
                () = tokio::time::sleep_until(looks.again.into()) => waiter.leave().await,
            };
            if let Some(Handed { ticket, asked }) = given {
                self.work(&ticket, asked).await;
            }
        }
    }

    async fn work(&self, ticket: &Ticket, asked: Instant) {
        Run::new(&self.0, ticket, asked).work().await;
        if self.0.factory.is_limited(&ticket.template, ticket.job.as_deref()) {
            // Its place is free now, and another one may have waited for it.
            self.0.calgon.full.forget();
            self.0.calgon.bell.ring();
        }
        self.0.calgon.pace.note(asked.elapsed());
    }

    /// A look for a ticket that waits. Where there is one, there may be more.
    async fn look(&self, looks: &mut Looks) -> Option<Ticket> {
        let bell = &self.0.calgon.bell;
        bell.looks();
        match self.take(looks).await {
            Ok(None) => None,
            Ok(ticket) => {
                bell.ring();
                ticket
            }
            Err(error) => {
                if error.kind != ErrorKind::UnknownTemplate {
                    looks.away = Some(Instant::now());
                    tracing::debug!(%error, "Tickets cannot be looked for.");
                }
                None
            }
        }
    }

    /// A ticket whose node has fallen silent, else the next one that waits.
    async fn take(&self, looks: &mut Looks) -> Result<Option<Ticket>> {
        let (store, lease) = (Store(&self.0.factory), self.0.calgon.config.lease);
        let node = self.0.reports.node();
        let is_calm = looks.away.is_none_or(|at| at.elapsed() > lease / 2);
        let (all_speak, full) = (&self.0.calgon.all_speak, &self.0.calgon.full);
        if is_calm && all_speak.get(LOOK_AGAIN / 2).is_none() {
            // Noted before the answer, so that one task asks.
            all_speak.note(());
            let silent = store.take_over(node, lease).await.inspect_err(|_| all_speak.forget())?;
            if let Some(ticket) = silent {
                all_speak.forget();
                return Ok(Some(ticket));
            }
        }
        let limits = || self.0.factory.limited_jobs();
        let places = match full.get(FULL_FOR) {
            Some(places) => places,
            None => {
                let places = store.full(&limits(), false).await?;
                full.note(places.clone());
                places
            }
        };
        let Some(ticket) = store.claim(node, lease, &places).await? else { return Ok(None) };
        // Two tasks may have found the same free place: neither has begun, and both give it back where it is one too many.
        if self.0.factory.is_limited(&ticket.template, ticket.job.as_deref()) {
            full.forget();
            let place = store::place(&ticket.template, ticket.job.as_deref());
            if store.full(&limits(), true).await?.contains(&place) {
                store.give_back(&ticket, false, by_chance(PLACE_AGAIN)).await?;
                // Others may wait behind it.
                self.0.calgon.bell.ring();
                return Ok(None);
            }
        }
        Ok(Some(ticket))
    }
}

/// The times of a task's looks.
struct Looks {
    /// The store was away last. No node could speak then: those that live have their time first to do so.
    away: Option<Instant>,
    /// The next look of which no bell has told.
    again: Instant,
}

/// A part of a time, by chance.
fn by_chance(most: Duration) -> Duration {
    let part = uuid::Uuid::new_v4().as_u128() % most.as_millis().max(1);
    Duration::from_millis(u64::try_from(part).unwrap_or(0))
}
