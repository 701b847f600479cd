//! [`AttemptReport`]: the reports about one attempt at a ticket, as lineage and as audit.
//!
//! Not here: reports about events of queues (pool/report.rs).

use std::time::Instant;

use beds_core::Event;
use beds_core::outcome::Outcome;
use beds_core::steps::Step;
use beds_core::ticket::Ticket;
use beds_trail::audit::AuditRecord;
use beds_trail::span::{LineageReport, Span, SpanKind, micros};
use beds_transport::Kept;
use jiff::Timestamp;

use super::tools::Tools;
use crate::spans;
use crate::touched::Touched;

pub(super) struct AttemptReport<'r> {
    tools: &'r Tools,
    ticket: &'r Ticket,
    start: Timestamp,
    clock: Instant,
    calls: Vec<Step>,
}

impl<'r> AttemptReport<'r> {
    pub(super) fn begin(tools: &'r Tools, ticket: &'r Ticket) -> Self {
        Self { tools, ticket, start: Timestamp::now(), clock: Instant::now(), calls: Vec::new() }
    }

    /// With the calls of database objects, which are children of the attempt.
    #[must_use]
    pub(super) fn with_calls(self, calls: Vec<Step>) -> Self {
        Self { calls, ..self }
    }

    /// Reports the end of the attempt: done, failed, cancelled, handed over, or lost to another node.
    pub(super) async fn end(
        &self,
        event: &Event,
        word: &str,
        code: Option<String>,
        touched: Touched,
    ) -> Kept {
        let reports = &self.tools.reports;
        metrics::counter!("beds_ticket_attempts_total", "outcome" => word.replace(' ', "_"))
            .increment(1);
        metrics::histogram!("beds_ticket_attempt_seconds").record(self.clock.elapsed());
        let outcome = match word {
            "done" | "handed over" => Outcome::Ok,
            "lost" => Outcome::Unknown,
            _ => Outcome::Failed,
        };
        let enabled = reports.enabled();
        let lineage = enabled.lineage.then(|| {
            let span = Span {
                kind: SpanKind::Attempt,
                label: Some(format!(
                    "attempt {} of ticket {}: {word}",
                    self.ticket.epoch, self.ticket.id
                )),
                worker: self.tools.name.clone(),
                start: self.start,
                duration_us: Some(micros(self.clock.elapsed())),
                code: code.clone(),
                ..Span::of(event, reports.node(), outcome)
            };
            let calls = self.calls.iter().zip(1..);
            let calls = calls.map(|(step, number): (&Step, usize)| {
                spans::call(event, &number.to_string(), SpanKind::Call, step)
            });
            let spans = std::iter::once(span).chain(calls).collect();
            LineageReport::ended(event.root_id.clone(), spans, None)
        });
        let audit = enabled.audit.then(|| AuditRecord {
            operation: "attempt".to_owned(),
            target: Some(format!("ticket {}: {word}", self.ticket.id)),
            outcome,
            code,
            record: touched.record,
            seen: touched.seen,
            unnamed: touched.unnamed,
            ..AuditRecord::of(event, reports.node(), self.start)
        });
        reports.keep(lineage, audit).await
    }
}
