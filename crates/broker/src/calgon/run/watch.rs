//! The watch over an attempt: it keeps the lease, tells the progress, and halts the work where it has to end.
//!
//! Not here: the lease itself (../lease.rs), the end of the work in its database (crate adapters).

use std::time::{Duration, Instant};

use beds_core::ticket::Ticket;

use super::super::lease::Said;
use super::super::outcome::FIRST_PAUSE;
use super::{Assignment, Reason, Run};

/// The pause before the lease is asked for again while the store is away: where it comes back, the lease is this node's before another
/// one takes the ticket.
const SPEAK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at the progress, and the longest that one takes.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const LOOKED_WITHIN: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Keeps the lease while the work goes on, and halts it where it has to end.
    /// `told`: work whose object may say how far it is.
    pub(super) async fn watch(&self, timeout: Duration, told: Option<&Assignment<'_>>) {
        let notice = Ticket::notice(&self.ticket.id);
        let too_long = tokio::time::sleep(timeout);
        tokio::pin!(too_long);
        // Soon for the first time: a cancel may have come between the claim and this watch.
        let mut pause = self.lease.pause().min(FIRST_PAUSE);
        let mut spoken = Instant::now();
        loop {
            let is_halted = self.halt.is_cancelled();
            let watched = self.tools.notices.enter(&notice);
            tokio::select! {
                biased;
                () = self.done.cancelled() => return,
                () = self.tools.stop.cancelled(), if !is_halted => self.end_for(Reason::Stop),
                () = &mut too_long, if !is_halted => self.end_for(Reason::TooLong),
                () = watched.given_up(), if !is_halted => {}
                () = tokio::time::sleep(pause.min(LOOK_AGAIN)) => {
                    self.look(told).await;
                    if spoken.elapsed() < pause && !self.lease.has_news() {
                        continue;
                    }
                }
            }
            drop(watched);
            (pause, spoken) = (self.lease.pause(), Instant::now());
            // Goes on while the database ends the work: another node would begin it anew.
            match self.lease.beat(&self.store).await {
                Said::Held => {}
                Said::Cancel => self.end_for(Reason::Cancel),
                Said::Lost => self.end_for(Reason::Lost),
                // A lease that has run out is this node's as long as no other one has taken it.
                Said::Silence => pause = SPEAK_AGAIN,
            }
        }
    }

    /// Asks how far the object says to be. That it cannot be told ends nothing.
    async fn look(&self, told: Option<&Assignment<'_>>) {
        let Some(task) = told else { return };
        match tokio::time::timeout(LOOKED_WITHIN, task.adapter.progress(&task.attempt.event)).await
        {
            Ok(Ok(Some(progress))) => self.lease.note_told(progress),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => tracing::debug!(%error, "The progress of a job cannot be read."),
        }
    }

    /// Keeps the lease while something is awaited.
    pub(super) async fn while_speaking<T>(&self, awaited: impl Future<Output = T>) -> T {
        tokio::pin!(awaited);
        loop {
            tokio::select! {
                done = &mut awaited => return done,
                () = tokio::time::sleep(self.lease.pause()) => drop(self.lease.beat(&self.store).await),
            }
        }
    }

    pub(super) fn end_for(&self, reason: Reason) {
        // The first reason counts.
        self.reason.get_or_init(|| reason);
        self.halt.cancel();
    }
}
