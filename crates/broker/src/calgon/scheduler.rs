//! [`Scheduler`]: asks for the jobs of `[schedules]` when their instants come. Each node does it: the key of a ticket is made of schedule
//! and instant, so that the first one makes it and the others find it.
//!
//! Not here: which instant is due (core/config/schedule.rs), the ticket itself (desk.rs).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use beds_core::config::{Overlap, Param, Schedule};
use beds_core::ticket::Ticket;
use beds_core::{
    BedsError, Complaints, ErrorKind, Event, Fields, Gatekeeper, Operation, Outcome, Result,
};
use beds_trail::audit::AuditRecord;
use beds_trail::span::{LineageReport, Span, SpanKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::desk;
use super::store::Store;
use super::tools::Tools;

/// Between two looks at the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A refusal is final when it has stood for so long: by then, all nodes have read their files again.
const REFUSED_FOR: SignedDuration = SignedDuration::from_secs(30);
/// The time for the submit of one ticket.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// The one task of a node that asks.
#[derive(Clone)]
pub(crate) struct Scheduler {
    pub(crate) tools: Tools,
    pub(crate) gate: Arc<dyn Gatekeeper>,
    pub(crate) complaints: Arc<Complaints>,
}

impl Scheduler {
    /// Asks until the pools stop.
    pub(crate) async fn serve(self) {
        let mut decided: HashMap<&str, Timestamp> = HashMap::new();
        while !self.tools.stop.is_cancelled() {
            for (name, schedule) in self.tools.calgon.schedules.iter() {
                let now = Timestamp::now();
                let due = schedule.due(now).filter(|due| decided.get(name.as_str()) != Some(due));
                let Some(due) = due else { continue };
                match self.decide(name, schedule, due, now).await {
                    Ok(()) => drop(decided.insert(name, due)),
                    Err(error) => self.complain(name, &error),
                }
            }
            tokio::select! {
                () = self.tools.stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Decides whether an instant has a ticket, once for all nodes.
    ///
    /// # Errors
    /// It could not be decided now; another look may.
    async fn decide(
        &self,
        name: &str,
        schedule: &Schedule,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        let store = Store(&self.tools.factory);
        let seen = store.see_schedule(name).await?;
        if due < seen.since || seen.last.is_some_and(|last| due <= last) {
            return Ok(());
        }
        let event = self.event(name, schedule, due)?;
        // Of another node, or of this one before it could keep that it was decided.
        let before = store.asked(&event.actor.subject, &desk::once(&event)).await?;
        let word = if before.is_some() {
            None
        } else if schedule.is_missed(due, now) {
            Some("missed")
        } else if schedule.overlap == Overlap::Skip && store.is_active(name).await? {
            Some("skipped")
        } else {
            self.ask(name, event, now.duration_since(due)).await?
        };
        if let Some(word) = word {
            let name = name.to_owned();
            metrics::counter!("beds_schedules_total", "schedule" => name, "outcome" => word)
                .increment(1);
        }
        if let Some(word) = word.filter(|word| *word != "asked") {
            tracing::warn!(schedule = name, %due, outcome = word, "An instant of a schedule has no ticket.");
        }
        store.decide_schedule(name, due).await
    }

    /// Asks for the ticket of an instant, and reports it. Answers the word for that; none where another node had asked.
    async fn ask(
        &self,
        name: &str,
        event: Event,
        late: SignedDuration,
    ) -> Result<Option<&'static str>> {
        let start = Timestamp::now();
        let calgon = &self.tools.calgon;
        let asked = desk::submit(&self.tools.factory, calgon, &event, Some(name)).await;
        // The one of another node, or of an attempt whose answer was lost.
        let is_own = asked.as_ref().is_ok_and(|ticket| ticket.event_id == event.event_id.0);
        let is_final = late > REFUSED_FOR && asked.as_ref().err().is_some_and(is_final);
        if is_own || is_final {
            self.report(name, &event, start, asked.as_ref()).await;
        }
        match asked {
            Ok(_) => {
                calgon.bell.ring();
                Ok(is_own.then_some("asked"))
            }
            Err(error) if is_final => {
                self.complain(name, &error);
                Ok(Some("refused"))
            }
            Err(error) => Err(error),
        }
    }

    fn event(&self, name: &str, schedule: &Schedule, due: Timestamp) -> Result<Event> {
        let actor = self.gate.identity(&schedule.identity).ok_or_else(|| {
            let text = format!(
                "no key in the file of keys that is still good has the subject {}",
                schedule.identity
            );
            BedsError::new(ErrorKind::Unavailable, text)
        })?;
        let value = |param: &Param| match param {
            Param::Whole(number) => Value::from(*number),
            Param::Text(text) => Value::from(text.as_str()),
        };
        let params = schedule.params.iter().map(|(name, param)| (name.clone(), value(param)));
        let id = self.tools.reports.event_id();
        let event = Event::root(id, &schedule.template, Operation::Job, PATIENCE);
        Ok(Event {
            actor,
            job: Some(schedule.job.clone()),
            key: Some(format!("schedule/{name}/{due}")),
            params: Fields::from_iter(params),
            ..event
        })
    }

    async fn report(
        &self,
        name: &str,
        event: &Event,
        start: Timestamp,
        asked: Result<&Ticket, &BedsError>,
    ) {
        let (reports, enabled) = (&self.tools.reports, self.tools.reports.enabled());
        let outcome = if asked.is_ok() { Outcome::Ok } else { Outcome::Failed };
        let code = asked.err().map(|error| error.code().to_owned());
        let lineage = enabled.lineage.then(|| {
            let span = Span {
                kind: SpanKind::Schedule,
                label: Some(name.to_owned()),
                worker: self.tools.name.clone(),
                start,
                code: code.clone(),
                ..Span::of(event, reports.node(), outcome)
            };
            LineageReport::ended(event.root_id.clone(), vec![span], None)
        });
        let audit = enabled.audit.then(|| AuditRecord {
            target: Some(format!("schedule {name}")),
            outcome,
            code,
            ..AuditRecord::of(event, reports.node(), start)
        });
        drop(reports.keep(lineage, audit).await);
    }

    fn complain(&self, name: &str, error: &BedsError) {
        if self.complaints.say(&format!("{name} {}", error.code())).is_some() {
            tracing::warn!(schedule = name, %error, "The ticket of a schedule cannot be made.");
        }
    }
}

/// True for a refusal that another node, or a later moment, would not turn into a ticket. One without the template cannot tell.
fn is_final(error: &BedsError) -> bool {
    let may_pass = matches!(
        error.kind,
        ErrorKind::TooMany | ErrorKind::UnknownTemplate | ErrorKind::NoSuchOperation
    );
    error.kind.status() < 500 && !may_pass
}
