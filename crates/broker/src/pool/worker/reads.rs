//! The work on a read: it has no effect, so its caller learns the end at once, and the message is acknowledged in any case.
//!
//! Not here: writes (writes.rs), the acts at the end of a message (settle.rs).

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Result};

use super::settle::Taken;
use super::{Worker, after_work, not_recorded};

impl Worker<'_> {
    /// Reads, answers, reports and acknowledges.
    pub(super) async fn read(&self, taken: &Taken<'_>) {
        let outcome = self.read_while_awaited(taken).await;
        after_work().await;
        if let Err(error) = &outcome {
            self.log(&taken.attempt.event, error);
        }
        if outcome.is_ok() && self.factory.is_audit_required(&taken.attempt.event.template) {
            return self.answer_after_its_record(taken, outcome).await;
        }
        self.answer(taken, outcome.as_ref()).await;
        let reports = self.reports(taken, outcome.as_ref(), None);
        self.settle(taken.delivery, reports).await;
    }

    /// The handler panicked: a read has no effect to save, so its caller learns at once.
    pub(super) async fn refuse_after_panic(&self, taken: &Taken<'_>, error: &BedsError) {
        self.answer(taken, Err(error)).await;
        let reports = self.reports(taken, Err(error), None);
        self.settle(taken.delivery, reports).await;
    }

    /// Ends the read where the gateway tells that its caller has gone.
    async fn read_while_awaited(&self, taken: &Taken<'_>) -> Result<Answer> {
        let event = &taken.attempt.event;
        let watched = self.notices.enter(&event.event_id.0);
        let patience = event.remaining().min(self.pool.handler_timeout);
        // Looks at the notice first: a read whose caller has gone is not begun.
        tokio::select! {
            biased;
            () = watched.given_up() => {
                let text = "the caller went away; the read was ended";
                Err(BedsError::new(ErrorKind::DeadlineExceeded, text))
            }
            outcome = self.work(taken, patience, self.call(taken)) => outcome,
        }
    }

    /// Answers a read of a template with `audit = "required"` after RabbitMQ has confirmed its audit record.
    async fn answer_after_its_record(&self, taken: &Taken<'_>, outcome: Result<Answer>) {
        let (lineage, audit) = self.reports(taken, outcome.as_ref(), None);
        let kept = async { self.reporter.reports.keep(lineage, audit).await.confirmed().await };
        let outcome = match tokio::time::timeout(taken.attempt.event.remaining(), kept).await {
            Ok(true) => outcome,
            Ok(false) | Err(_) => Err(not_recorded()),
        };
        self.answer(taken, outcome.as_ref()).await;
        taken.delivery.ack();
    }
}
