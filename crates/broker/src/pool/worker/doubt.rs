//! What a worker does where it is in doubt: whether a write had its effect, and whether what is done can be recorded.

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Event, Result};
use beds_transport::Delivery;
use beds_transport::topology::DELIVERY_LIMIT;

use super::{REPLY_PATIENCE, Worker, not_recorded};
use crate::dispatch::dispatch;
use crate::pool::report::Begun;

/// How long the inbox is asked what became of a write, and how often.
const FIND_OUT: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(250);

impl Worker<'_> {
    /// True where the error says what became of a write. Nobody knows what an earlier delivery came to while the database
    /// cannot be asked.
    pub(super) fn is_certain(&self, error: &BedsError, delivery: &Delivery) -> bool {
        match error.kind {
            _ if !self.pool.key.is_write() => true,
            ErrorKind::OutcomeUnknown => false,
            kind => !delivery.is_redelivered() || is_told(kind),
        }
    }

    /// Asks the inbox what became of a write that was begun here. None where the message has to be handed out again to learn it.
    pub(super) async fn find_out(&self, delivery: &Delivery, event: &Event) -> Option<Result<Answer>> {
        // After its deadline nothing is begun any more; an effect that is there is found.
        let mut asked = event.clone();
        asked.deadline = jiff::Timestamp::now();
        let asked = Arc::new(asked);
        let found = self.take_up(delivery, &asked).await;
        if let Some(first) = asked.steps.take().repeat_of {
            event.steps.note_repeat(first);
        }
        found
    }

    /// Asks the inbox what became of a write in an earlier delivery, and does it if nothing did and it may be done now.
    pub(super) async fn resume(&self, delivery: &Delivery, event: &Arc<Event>) -> Option<Result<Answer>> {
        if self.may_begin(event) {
            return self.take_up(delivery, event).await;
        }
        let found = self.find_out(delivery, event).await?;
        Some(found.map_err(|error| match error.kind {
            ErrorKind::DeadlineExceeded => not_recorded(),
            _ => error,
        }))
    }

    /// Asks the inbox what became of a write in an earlier delivery, and does it if nothing did and its deadline allows.
    async fn take_up(&self, delivery: &Delivery, event: &Arc<Event>) -> Option<Result<Answer>> {
        let asking = async {
            loop {
                match dispatch(self.factory, event, self.pool.key.store()).await {
                    Err(error) if !is_told(error.kind) => {}
                    found => return found,
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        match tokio::time::timeout(FIND_OUT, asking).await {
            Ok(found) => Some(found),
            Err(_) if delivery.deliveries() < DELIVERY_LIMIT => None,
            Err(_) => Some(Err(self.late())),
        }
    }

    /// The last delivery of a message that ended its node each time: should it end this one too, nobody else would ever
    /// tell of it.
    pub(super) async fn announce(&self, delivery: &Delivery, begun: &Begun, event: &Event) {
        let unknown = self.late();
        let (lineage, audit) = self.reporter.records(begun, event, delivery, Err(&unknown), None);
        let kept = async { self.reporter.recorder.keep(lineage, audit).await.confirmed().await };
        if !tokio::time::timeout(REPLY_PATIENCE, kept).await.unwrap_or(false) {
            tracing::warn!(event.id = event.event_id.0, "The last attempt at a message could not be recorded.");
        }
    }

    /// What is read of a template whose use must be recorded is answered when RabbitMQ has the record.
    pub(super) async fn after_its_record(
        &self,
        delivery: &Arc<Delivery>,
        begun: &Begun,
        event: &Event,
        outcome: Result<Answer>,
    ) {
        let (lineage, audit) = self.reporter.records(begun, event, delivery, outcome.as_ref(), None);
        let kept = async { self.reporter.recorder.keep(lineage, audit).await.confirmed().await };
        let outcome = match tokio::time::timeout(event.remaining(), kept).await {
            Ok(true) => outcome,
            Ok(false) | Err(_) => Err(not_recorded()),
        };
        self.answer(delivery, &event.event_id, event.operation, outcome.as_ref()).await;
        delivery.ack();
    }
}

/// True for the error of a write that reached the inbox: what it says holds for all deliveries.
fn is_told(kind: ErrorKind) -> bool {
    kind == ErrorKind::DeadlineExceeded || (kind.status() < 500 && kind != ErrorKind::KeyInFlight)
}
