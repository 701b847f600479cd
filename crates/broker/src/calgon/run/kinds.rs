//! The kinds of work that are one call: requests, jobs that read, and merges.
//!
//! Not here: jobs in steps (steps.rs), the rows of the result (../sink.rs).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beds_core::reply::Answer;
use beds_core::template::JobPart;
use beds_core::template::job::Job;
use beds_core::ticket::{ResultForm, Ticket};
use beds_core::{
    Attempt, BedsError, ErrorKind, Event, JobEnd, JobRun, Operation, Result, Rights, TakesRows,
};
use serde_json::value::RawValue;

use super::super::lease::Said;
use super::super::sink::Sink;
use super::super::store::End;
use super::{Assignment, REQUEST, RESULT_TTL, Run};
use crate::touched::Touched;

/// The most bytes of the answer of a request.
const MOST_BYTES: i64 = 64 << 20;

impl Run<'_> {
    /// Runs a job that reads. None where it was stopped.
    pub(super) async fn read(&self, task: &Assignment<'_>, job: &Job) -> Result<Option<End>> {
        let event = &task.attempt.event;
        self.count(task, job).await?;
        let most_bytes = i64::from(job.result_max_mib.get()) << 20;
        let hidden = hidden(task.rights, event);
        let keep = job.timeout + job.result_ttl;
        let mut sink =
            Sink::new(&self.store, &self.lease, ResultForm::Rows, hidden, most_bytes, keep)
                .of_records(self.tools.factory.id_field(&event.template));
        let stop = Box::pin(self.halt.cancelled());
        match task.adapter.run(&self.job_run(task), &mut sink, stop).await? {
            JobEnd::Stopped => Ok(None),
            JobEnd::Done => {
                let (ids, others) = sink.seen();
                let touched = Touched::rows(&self.tools.reports, &event.template, ids, others);
                self.note_touched(touched);
                Ok(Some(End::Done(sink.finish().await?)))
            }
        }
    }

    /// Merges into a collection of its own, and publishes that with one short write, which takes effect once. None where it was stopped
    /// before.
    pub(super) async fn merge(&self, task: &Assignment<'_>, job: &Job) -> Result<Option<End>> {
        let event = &task.attempt.event;
        if self.ticket.epoch > 1
            && let Some(end) = self.effect(task.adapter, event).await?
        {
            return Ok(Some(end));
        }
        let stop = Box::pin(self.halt.cancelled());
        let merged = task.adapter.run(&self.job_run(task), &mut NoRows, stop).await?;
        if merged == JobEnd::Stopped || self.halt.is_cancelled() {
            return Ok(None);
        }
        // Another attempt may have begun, and its documents would not be whole yet: the store has the word, and not this node's clock.
        match self.lease.beat(&self.store).await {
            Said::Held => {}
            Said::Cancel | Said::Lost => return Ok(None),
            Said::Silence => {
                let text = "the ticket cannot be written; nothing was published";
                return Err(BedsError::new(ErrorKind::StoreUnavailable, text));
            }
        }
        let publish = Arc::new(Attempt::new(publishing(event, self.ticket), REQUEST));
        let answer = task.adapter.work(&publish).await;
        self.note_calls(&publish);
        let kept = job.timeout + job.result_ttl;
        self.keep(task.rights, event, answer?, kept).await.map(Some)
    }

    /// Does a request as a worker would: a write takes effect once.
    pub(super) async fn request(&self, task: &Assignment<'_>) -> Result<Option<End>> {
        let event = &task.attempt.event;
        let answer = task.adapter.work(task.attempt).await;
        let answer = answer.map_err(|error| task.rights.quiet(event, error))?;
        self.keep(task.rights, event, answer, REQUEST + RESULT_TTL).await.map(Some)
    }

    /// Keeps the answer of a request as the result.
    pub(super) async fn keep(
        &self,
        rights: &Rights,
        event: &Event,
        answer: Answer,
        kept: Duration,
    ) -> Result<End> {
        let (factory, reports) = (&self.tools.factory, &self.tools.reports);
        self.note_touched(Touched::by(factory, reports, event, Some(&answer)));
        let answer = rights.mask(event, answer)?;
        let is_page = event.operation == Operation::List || event.name().is_some();
        let form = if is_page { ResultForm::Page } else { ResultForm::Record };
        let hidden = hidden(rights, event);
        let mut sink = Sink::new(&self.store, &self.lease, form, hidden, MOST_BYTES, kept);
        sink.push(raw(&answer)?).await?;
        Ok(End::Done(sink.finish().await?))
    }

    /// Asks how much there is to do, where the job has an object that tells it.
    async fn count(&self, task: &Assignment<'_>, job: &Job) -> Result<()> {
        if job.total.is_none() {
            return Ok(());
        }
        let event = part(&task.attempt.event, JobPart::Total);
        let counting = Arc::new(Attempt::new(event, REQUEST));
        let answer = task.adapter.work(&counting).await;
        self.note_calls(&counting);
        let answer = answer?;
        let total = answer.records.first().and_then(|record| first_number(record));
        let Some(total) = total else {
            let text = "the object that tells the total answered no number";
            return Err(BedsError::new(ErrorKind::WrongAnswer, text));
        };
        self.lease.note_total(total);
        // A lease that is lost shows itself at the first piece.
        self.lease.beat(&self.store).await;
        Ok(())
    }

    fn job_run(&self, task: &Assignment<'_>) -> JobRun {
        let (ticket, epoch) = (self.ticket.id.clone(), self.ticket.epoch);
        JobRun { attempt: Arc::clone(task.attempt), ticket, epoch }
    }
}

/// The event that publishes a merge. Of all attempts at a ticket, it takes effect once.
pub(super) fn publishing(event: &Event, ticket: &Ticket) -> Event {
    let key = Some(format!("{}/publish", ticket.id));
    Event { key, replay_of: None, ..part(event, JobPart::Publish) }
}

/// The same event for another object of its job.
fn part(event: &Event, part: JobPart) -> Event {
    let job = event.job.as_deref().map(|job| part.name(job).into_owned());
    Event { job, ..event.clone() }
}

/// The fields that the owner may not read.
pub(super) fn hidden(rights: &Rights, event: &Event) -> Vec<String> {
    let hidden = rights.hidden(&event.actor, event.operation, event.name());
    hidden.into_iter().map(str::to_owned).collect()
}

pub(super) fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).map_err(|error| {
        BedsError::new(ErrorKind::Internal, "the answer could not be kept").with_source(error)
    })
}

/// The first member of a record that is a number.
fn first_number(record: &RawValue) -> Option<i64> {
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(record.get()).ok()?;
    members.values().find_map(serde_json::Value::as_i64)
}

/// The place for the rows of a merge, which has none.
struct NoRows;

#[async_trait]
impl TakesRows for NoRows {
    async fn push(&mut self, _row: Box<RawValue>) -> Result<()> {
        Ok(())
    }
}
