//! [`Lease`]: this node's hold on a ticket while it works on it. A lease that was not made longer in time is lost for this node, whatever
//! the database says later: another node may have begun.
//!
//! Not here: the moves in the store (store.rs), the name of a node (transport/lease.rs).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use beds_core::ticket::{Checkpoint, Progress, Ticket, TicketState};
use beds_core::{BedsError, ErrorKind, Result};

use super::store::Store;

/// So often a node speaks within a lease.
const BEATS: u32 = 3;

pub(super) struct Lease<'t> {
    ticket: &'t Ticket,
    longest: Duration,
    /// By this node's own clock, which goes on while the process is stopped.
    until: Mutex<Instant>,
    /// Rows so far; none before the first.
    rows: AtomicI64,
    progress: Mutex<Known>,
}

/// The things that are known of the progress, beside the rows.
#[derive(Debug, Default)]
struct Known {
    total: Option<i64>,
    /// The word of the object itself, which goes before the count of rows.
    told: Option<Progress>,
    /// The progress of the last beat.
    sent: Option<Progress>,
}

/// The word of the store on a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is still this node's.
    Held,
    /// It is this node's, and is to end.
    Cancel,
    /// It is another node's, or has ended.
    Lost,
    /// The store could not be asked.
    Silence,
}

impl<'t> Lease<'t> {
    /// A lease that was given a moment ago, before `asked`.
    pub(super) fn new(ticket: &'t Ticket, longest: Duration, asked: Instant) -> Self {
        let until = Mutex::new(asked + longest);
        Self { ticket, longest, until, rows: AtomicI64::new(-1), progress: Mutex::default() }
    }

    pub(super) fn ticket(&self) -> &'t Ticket {
        self.ticket
    }

    /// The pause between two beats.
    pub(super) fn pause(&self) -> Duration {
        self.longest / BEATS
    }

    pub(super) fn note_rows(&self, rows: i64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    pub(super) fn note_total(&self, total: i64) {
        self.known().total = Some(total);
    }

    pub(super) fn note_told(&self, told: Progress) {
        self.known().told = Some(told);
    }

    /// True where the work has come further since the last beat.
    pub(super) fn has_news(&self) -> bool {
        self.progress() != self.known().sent
    }

    fn progress(&self) -> Option<Progress> {
        let (rows, known) = (self.rows.load(Ordering::Relaxed), self.known());
        let counted = || Progress { done: rows.max(0), total: known.total, text: None, at: None };
        known.told.clone().or_else(|| (rows >= 0 || known.total.is_some()).then(counted))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the lease longer.
    pub(super) async fn beat(&self, store: &Store<'_>) -> Said {
        let progress = self.progress();
        self.renew(async {
            let state = store.beat(self.ticket, self.longest, progress.as_ref()).await?;
            self.known().sent = progress;
            Ok(state)
        })
        .await
    }

    /// Keeps how many steps were done, which makes the lease longer too.
    pub(super) async fn step(&self, store: &Store<'_>, at: &Checkpoint) -> Said {
        self.renew(store.step(self.ticket, self.longest, at)).await
    }

    async fn renew(&self, asking: impl Future<Output = Result<Option<TicketState>>>) -> Said {
        let asked = Instant::now();
        match asking.await {
            Ok(None) => Said::Lost,
            Ok(Some(state)) => {
                *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + self.longest;
                if state == TicketState::Cancelling { Said::Cancel } else { Said::Held }
            }
            Err(error) => {
                metrics::counter!("beds_ticket_beats_lost_total").increment(1);
                tracing::debug!(%error, ticket = self.ticket.id, "A ticket's lease could not be made longer.");
                Said::Silence
            }
        }
    }

    /// An error where the lease has run out: another node may have the ticket.
    pub(super) async fn check(&self, store: &Store<'_>) -> Result<()> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < until || matches!(self.beat(store).await, Said::Held | Said::Cancel) {
            return Ok(());
        }
        Err(BedsError::new(ErrorKind::Unavailable, "the ticket is another node's by now"))
    }
}
