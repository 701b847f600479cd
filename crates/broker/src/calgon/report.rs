//! [`AttemptReport`]: the reports about one attempt at a ticket, as lineage and as audit.
//!
//! Not here: reports about events of queues (pool/report.rs).

use std::time::Instant;

use beds_core::Event;
use beds_core::outcome::Outcome;
use beds_core::ticket::Ticket;
use beds_trail::audit::AuditRecord;
use beds_trail::span::{LineageReport, Span, SpanKind, micros};
use beds_transport::Kept;
use jiff::Timestamp;

use super::tools::Tools;
use crate::touched::Touched;

pub(super) struct AttemptReport<'r> {
    tools: &'r Tools,
    ticket: &'r Ticket,
    start: Timestamp,
    clock: Instant,
}

impl<'r> AttemptReport<'r> {
    pub(super) fn begin(tools: &'r Tools, ticket: &'r Ticket) -> Self {
        Self { tools, ticket, start: Timestamp::now(), clock: Instant::now() }
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
            LineageReport::ended(event.root_id.clone(), vec![span], None)
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
