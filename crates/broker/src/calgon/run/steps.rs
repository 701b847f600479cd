//! A job in steps: its object is called again and again, each call a write of its own that takes effect once under the key
//! `ticket/step`. The ticket keeps the place of the next step after each one, so that another node goes on where this one was.
//!
//! Not here: how a write takes effect once (crate adapters).

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::template::job::Job;
use beds_core::ticket::{Checkpoint, Problem, ResultForm};
use beds_core::{Attempt, BedsError, ErrorKind, Event, Result, TakesRows, TemplateAdapter};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::lease::Said;
use super::super::sink::Sink;
use super::super::store::End;
use super::kinds::raw;
use super::{Assignment, REQUEST, Reason, Run};

/// Between two questions whether a step that was given up has taken effect, and how often that is asked.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const MOST_ASKED: u32 = 300;
/// The largest place at which a step begins, as JSON.
const LARGEST_PLACE: usize = 4096;

/// The answer of one step.
#[derive(Deserialize)]
struct StepAnswer<'a> {
    /// The place where the next step begins; null behind the last one. A row without it is a mistake, and not an end.
    #[serde(borrow, deserialize_with = "Option::deserialize")]
    next: Option<&'a RawValue>,
    /// Rows of this step.
    done: i64,
    /// Rows of all steps, where that is known.
    #[serde(default)]
    total: Option<i64>,
}

/// The result of a job in steps.
#[derive(Serialize)]
struct Summary {
    steps: i64,
    done: i64,
}

impl Run<'_> {
    /// Does one step after the other. None where it was stopped.
    pub(super) async fn steps(&self, task: &Assignment<'_>, job: &Job) -> Result<Option<End>> {
        let mut at = self.ticket.step.clone().unwrap_or_default();
        let event = &task.attempt.event;
        while !at.is_end() {
            if self.halt.is_cancelled() {
                return Ok(None);
            }
            let step = Arc::new(Attempt::new(self.step(event, &at, job.limit.get())?, REQUEST));
            let called = tokio::select! {
                biased;
                () = self.halt.cancelled() => None,
                called = task.adapter.work(&step) => Some(called),
            };
            self.note_calls(&step);
            let answer = match called {
                Some(answer) => answer?,
                // Another node is to go on at once, and asks the inbox itself.
                None if self.reason.get() == Some(&Reason::Stop) => return Ok(None),
                None => match self.recall(task.adapter, &step.event).await? {
                    Some(answer) => answer,
                    None => return Ok(None),
                },
            };
            at = next(&at, &answer)?;
            self.keep_step(&at).await?;
        }
        self.summary(&at, job).await.map(Some)
    }

    /// Keeps how many steps were done. The work ends where the ticket is another node's, or is to be cancelled.
    async fn keep_step(&self, at: &Checkpoint) -> Result<()> {
        match self.lease.step(&self.store, at).await {
            Said::Held => {}
            Said::Cancel => self.end_for(Reason::Cancel),
            Said::Lost => self.end_for(Reason::Lost),
            Said::Silence => {
                let text = "the ticket cannot be written; the step is not lost";
                return Err(BedsError::new(ErrorKind::StoreUnavailable, text));
            }
        }
        Ok(())
    }

    /// The end of a job in steps whose last step was done. None where it was not: the one that was given up has taken effect, or it will
    /// not, and no further one begins.
    pub(super) async fn effect_of_steps(
        &self,
        adapter: &dyn TemplateAdapter,
        event: &Event,
        job: &Job,
    ) -> Result<Option<End>> {
        let mut at = self.ticket.step.clone().unwrap_or_default();
        if !at.is_end() {
            let step = self.step(event, &at, job.limit.get())?;
            if let Some(answer) = self.recall(adapter, &step).await? {
                at = next(&at, &answer)?;
                self.keep_step(&at).await?;
            }
        }
        if at.is_end() { self.summary(&at, job).await.map(Some) } else { Ok(None) }
    }

    /// The end of a job whose definition is another one by now, and of which a step took effect that the ticket does not know. None where
    /// there is none, and none can take effect any more.
    ///
    /// # Errors
    /// One may still do so.
    pub(super) async fn step_of_another_job(
        &self,
        adapter: &dyn TemplateAdapter,
        event: &Event,
    ) -> Result<Option<End>> {
        let at = self.ticket.step.clone().unwrap_or_default();
        match self.recall(adapter, &self.step(event, &at, 1)?).await {
            Ok(None) => Ok(None),
            Err(error) if error.kind != ErrorKind::KeyReused => Err(error),
            // With another page than the one that is asked with here.
            Ok(Some(_)) | Err(_) => {
                let text =
                    "the job was changed, and one more step took effect than the progress says";
                let error = BedsError::new(ErrorKind::OutcomeUnknown, text);
                Ok(Some(End::Failed(Problem::of(&error))))
            }
        }
    }

    /// The event of the next step.
    fn step(&self, event: &Event, at: &Checkpoint, limit: u16) -> Result<Event> {
        let mut step = event.clone();
        step.key = Some(format!("{}/{}", self.ticket.id, at.number + 1));
        step.replay_of = None;
        if let Some(after) = &at.after {
            let after = serde_json::from_str(after).map_err(|error| {
                let text = "the place of the next step could not be read";
                BedsError::new(ErrorKind::Internal, text).with_source(error)
            })?;
            step.params.insert("after".into(), after);
        }
        step.params.insert("limit".into(), limit.into());
        let longest = SignedDuration::try_from(REQUEST).unwrap_or(SignedDuration::MAX);
        let deadline = Timestamp::now().checked_add(longest).unwrap_or(Timestamp::MAX);
        step.deadline = event.deadline.min(deadline);
        Ok(step)
    }

    /// The answer of a step that was given up, if it has taken effect. Waits until that is certain.
    async fn recall(&self, adapter: &dyn TemplateAdapter, step: &Event) -> Result<Option<Answer>> {
        let mut asked = 0;
        loop {
            let answer = adapter.recall(&Attempt::new(step.clone(), REQUEST)).await;
            asked += 1;
            match answer {
                Err(error) if error.kind.is_retryable() && asked < MOST_ASKED => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// Keeps the sum of all steps as the result.
    async fn summary(&self, at: &Checkpoint, job: &Job) -> Result<End> {
        let keep = job.timeout + job.result_ttl;
        let most = i64::try_from(LARGEST_PLACE).unwrap_or(i64::MAX);
        let (lease, form) = (&self.lease, ResultForm::Rows);
        let mut sink = Sink::new(&self.store, lease, form, Vec::new(), most, keep);
        sink.push(raw(&Summary { steps: at.number, done: at.done })?).await?;
        Ok(End::Done(sink.finish().await?))
    }
}

/// How far the job is behind a step with this answer.
fn next(at: &Checkpoint, answer: &Answer) -> Result<Checkpoint> {
    let wrong = |found: &str| {
        let text = format!("the object of a job in steps answered {found} (docs/dba.md, Jobs)");
        BedsError::new(ErrorKind::WrongAnswer, text)
    };
    let [record] = answer.records.as_slice() else {
        return Err(wrong("no single row with `next` and `done`"));
    };
    let told: StepAnswer<'_> = serde_json::from_str(record.get())
        .map_err(|_| wrong("no row with `next` and the numbers `done` and `total`"))?;
    let after = told.next.map(|next| next.get().to_owned());
    if after.is_some() && after == at.after {
        return Err(wrong("the same `next` twice, so that it would never end"));
    }
    if after.as_ref().is_some_and(|after| after.len() > LARGEST_PLACE) {
        return Err(wrong("a `next` that is larger than 4 KiB"));
    }
    Ok(Checkpoint {
        number: at.number + 1,
        after,
        done: at.done.saturating_add(told.done),
        total: told.total.or(at.total),
    })
}
