//! [`Keeper`]: the one task of a node that looks at all tickets now and then: it ends those that were not begun in time, removes values
//! that have been kept long enough, and counts.
//!
//! Not here: the work of tickets (runner.rs).

use std::time::{Duration, Instant};

use beds_core::ticket::TicketState;
use metrics::gauge;

use super::store::Store;
use super::tools::Tools;

/// Between two looks for tickets that were not begun in time, and between two counts.
const SWEEP_AGAIN: Duration = Duration::from_secs(60);
const COUNT_AGAIN: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Keeper(pub(crate) Tools);

impl Keeper {
    /// Looks until the pools stop.
    pub(crate) async fn serve(self) {
        let store = Store(&self.0.factory);
        let mut swept: Option<Instant> = None;
        while !self.0.stop.is_cancelled() {
            if swept.is_none_or(|at| at.elapsed() > SWEEP_AGAIN) {
                swept = Some(Instant::now());
                if let Err(error) = store.sweep(self.0.calgon.config.keep).await {
                    tracing::debug!(%error, "Tickets that were not begun in time could not be ended.");
                }
            }
            self.count(&store).await;
            tokio::select! {
                () = self.0.stop.cancelled() => {}
                () = tokio::time::sleep(COUNT_AGAIN) => {}
            }
        }
    }

    async fn count(&self, store: &Store<'_>) {
        let Ok(crowd) = store.crowd().await else { return };
        let of = |state| crowd.iter().find(|crowded| crowded.state == state);
        for state in [
            TicketState::Queued,
            TicketState::Running,
            TicketState::Cancelling,
            TicketState::Failed,
        ] {
            let count = of(state).map_or(0, |crowded| crowded.count);
            gauge!("beds_tickets", "state" => state.as_str()).set(count as f64);
        }
        let oldest = of(TicketState::Queued).map_or(0, |crowded| crowded.seconds);
        gauge!("beds_tickets_oldest_queued_seconds").set(oldest as f64);
    }
}
