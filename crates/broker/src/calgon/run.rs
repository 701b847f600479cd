//! [`Run`]: one attempt at a ticket, from its claim to its end. Each move names the attempt, so that one that has lost its lease changes
//! nothing; and nothing is said to have ended that the database has not confirmed.
//!
//! Not here: the kinds of work (run/), the loop that takes tickets (runner.rs), the rows of the result (sink.rs).

mod kinds;
mod steps;
mod watch;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use beds_core::steps::Step;
use beds_core::template::job::{Job, JobKind};
use beds_core::ticket::{Problem, Ticket, TicketState};
use beds_core::{Attempt, BedsError, ErrorKind, Event, Operation, Result, Rights, TemplateAdapter};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::child;
use super::lease::{Lease, Said};
use super::outcome::{self, FIRST_PAUSE, Outcome, WHILE_AWAY};
use super::report::AttemptReport;
use super::store::{End, Store};
use super::tools::Tools;
use crate::touched::Touched;
use kinds::publishing;

/// So many lost leases are a failure: the work itself seems to end its nodes.
const MOST_LOST: i64 = 3;
/// So many attempts find no template of that name before that is a failure: five minutes.
const MOST_UNKNOWN: i64 = 30;
/// The longest that a request with a ticket takes: it is no job.
const REQUEST: Duration = Duration::from_secs(30);
/// How long the result of a request is kept.
const RESULT_TTL: Duration = Duration::from_hours(24);
/// Calls of an attempt that the lineage shows.
const MOST_CALLS: usize = 100;
/// How long RabbitMQ may take for the record of work that must be recorded.
const RECORDED: Duration = Duration::from_secs(30);
/// The pause before the end of a ticket is written again while its store is away.
const END_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Run<'r> {
    tools: &'r Tools,
    store: Store<'r>,
    ticket: &'r Ticket,
    lease: Lease<'r>,
    halt: CancellationToken,
    done: CancellationToken,
    reason: OnceLock<Reason>,
    /// For the trail.
    touched: Mutex<Touched>,
    calls: Mutex<Vec<Step>>,
}

/// The reason why the work is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Its owner has asked for that.
    Cancel,
    /// The ticket is another node's.
    Lost,
    /// The node stops.
    Stop,
    /// It takes longer than it may.
    TooLong,
}

/// The work of a ticket, by the rights and the definitions of now.
struct TicketWork {
    rights: Arc<Rights>,
    /// None for a request.
    job: Option<Job>,
}

/// The work of a ticket with everything that it needs.
struct Assignment<'t> {
    adapter: &'t dyn TemplateAdapter,
    attempt: &'t Arc<Attempt>,
    rights: &'t Rights,
}

impl<'r> Run<'r> {
    /// `asked`: the moment before the ticket was claimed.
    pub(super) fn new(tools: &'r Tools, ticket: &'r Ticket, asked: Instant) -> Self {
        let lease = Lease::new(ticket, tools.calgon.config.lease, asked);
        Self {
            tools,
            store: Store(&tools.factory),
            ticket,
            lease,
            halt: CancellationToken::new(),
            done: CancellationToken::new(),
            reason: OnceLock::new(),
            touched: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    /// Works, and writes the end.
    pub(super) async fn work(&self) {
        let told = AttemptReport::begin(self.tools, self.ticket);
        let (event, mut outcome) = match child::of(self.ticket, self.tools.reports.event_id()) {
            Err(error) => (None, outcome::of_failure(self.ticket, &error, 1)),
            Ok(event) => {
                let outcome = self.attempt(&event).await;
                (Some(event), outcome)
            }
        };
        let code = match &outcome {
            Outcome::End(End::Failed(problem)) => Some(problem.code.clone()),
            _ => None,
        };
        let touched =
            std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        let told = told.with_calls(calls);
        let is_required = self.tools.factory.is_audit_required(&self.ticket.template);
        match (event, &outcome) {
            // No result is shown whose record RabbitMQ does not have.
            (Some(event), Outcome::End(End::Done(_))) if is_required => {
                let kept = told.end(&event, outcome::word(&outcome, true), code, touched).await;
                let kept = tokio::time::timeout(RECORDED, kept.confirmed());
                if !self.while_speaking(kept).await.unwrap_or(false) {
                    outcome = Outcome::Again { failed: false, pause: WHILE_AWAY };
                }
                self.write(&outcome).await;
            }
            (event, _) => {
                let is_written = self.write(&outcome).await;
                if let Some(event) = event {
                    // Waits for room only.
                    let word = outcome::word(&outcome, is_written);
                    drop(told.end(&event, word, code, touched).await);
                }
            }
        }
        // Those that wait for it look again.
        self.tools.publisher.tell(&Ticket::notice(&self.ticket.id));
    }

    async fn attempt(&self, event: &Event) -> Outcome {
        let (adapter, work) = match self.begin(event).await {
            Ok(begun) => begun,
            Err(outcome) => return outcome,
        };
        let (timeout, attempts) = match &work.job {
            Some(job) => (job.timeout, i64::from(job.attempts.get())),
            None => (REQUEST, 3),
        };
        let mut event = event.clone();
        let longest = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
        event.deadline = event.issued_at.checked_add(longest).unwrap_or(Timestamp::MAX);
        let attempt = Arc::new(Attempt::new(event, timeout));
        let task =
            Assignment { adapter: adapter.as_ref(), attempt: &attempt, rights: &work.rights };
        let working = Box::pin(async {
            match &work.job {
                None => self.request(&task).await,
                Some(job) => match job.kind {
                    JobKind::Read => self.read(&task, job).await,
                    JobKind::Steps => self.steps(&task, job).await,
                    JobKind::Merge => self.merge(&task, job).await,
                },
            }
        });
        let is_read = work.job.as_ref().is_some_and(|job| job.kind == JobKind::Read);
        let (outcome, ()) = tokio::join!(
            async {
                let outcome = working.await;
                // The watch ends with the work, and with its end in the database.
                self.done.cancel();
                outcome
            },
            self.watch(timeout, is_read.then_some(&task)),
        );
        self.note_calls(&attempt);
        let reason = self.reason.get().copied();
        match (outcome, reason) {
            (Ok(Some(end)), _) => Outcome::End(end),
            (_, Some(Reason::Lost)) => Outcome::Nothing,
            (Ok(None), Some(Reason::Cancel)) => Outcome::End(End::Cancelled),
            (Ok(None), Some(Reason::TooLong)) => {
                let text =
                    format!("the work took longer than {} s, and was ended", timeout.as_secs());
                let error = BedsError::new(ErrorKind::DeadlineExceeded, text);
                Outcome::End(End::Failed(Problem::of(&error)))
            }
            (_, Some(Reason::Stop)) | (Ok(None), None) => {
                Outcome::Again { failed: false, pause: Duration::ZERO }
            }
            // It may still run: the next one ends it first.
            (Err(_), Some(Reason::Cancel)) => Outcome::Again { failed: false, pause: FIRST_PAUSE },
            (Err(error), _) => outcome::of_failure(self.ticket, &error, attempts),
        }
    }

    /// Ends what an earlier attempt has left, and looks whether the work may begin.
    async fn begin(
        &self,
        event: &Event,
    ) -> Result<(Arc<dyn TemplateAdapter>, TicketWork), Outcome> {
        let again = |error: BedsError| match error.kind {
            // Another node may have it; none, and the ticket would wait for ever.
            ErrorKind::UnknownTemplate if self.ticket.failures >= MOST_UNKNOWN => {
                Outcome::End(End::Failed(Problem::of(&error)))
            }
            ErrorKind::UnknownTemplate => Outcome::Again { failed: true, pause: WHILE_AWAY },
            _ => Outcome::Again { failed: false, pause: WHILE_AWAY },
        };
        let adapter = self.tools.factory.adapter_of(&event.template).map_err(again)?;
        if self.ticket.epoch > 1 {
            // Looks first: a process that was frozen here must not end the run of its successor.
            if self.lease.check(&self.store).await.is_err() {
                return Err(Outcome::Nothing);
            }
            let ending = adapter.end_runs_before(&self.ticket.id, self.ticket.epoch);
            self.while_speaking(ending).await.map_err(again)?;
        }
        if self.ticket.state == TicketState::Cancelling {
            return Err(self.cancelled(adapter.as_ref(), event).await);
        }
        if self.ticket.epoch > 1 && self.may_have_been_forgotten(event) {
            let text = "the inbox may have forgotten whether an attempt before took effect; look at the data, and ask anew";
            let error = BedsError::new(ErrorKind::OutcomeUnknown, text);
            return Err(Outcome::End(End::Failed(Problem::of(&error))));
        }
        if self.ticket.lost >= MOST_LOST {
            let text = "the nodes that worked on it fell silent, one after the other";
            let error = BedsError::new(ErrorKind::WorkersLost, text);
            return Err(Outcome::End(End::Failed(Problem::of(&error))));
        }
        let work =
            self.permitted(event).map_err(|error| outcome::of_failure(self.ticket, &error, 1))?;
        // The claim of the first attempt has said so a moment ago.
        if self.ticket.epoch == 1 {
            return Ok((adapter, work));
        }
        match self.lease.beat(&self.store).await {
            Said::Held => Ok((adapter, work)),
            Said::Cancel => Err(self.cancelled(adapter.as_ref(), event).await),
            Said::Lost => Err(Outcome::Nothing),
            Said::Silence => Err(Outcome::Again { failed: false, pause: FIRST_PAUSE }),
        }
    }

    /// True for a write whose last sign of life is older than the inbox remembers: it could take effect a second time.
    fn may_have_been_forgotten(&self, event: &Event) -> bool {
        let is_read = match self.job_of(event) {
            Ok(Some(job)) => job.kind == JobKind::Read,
            Ok(None) => !event.operation.is_write(),
            Err(_) => false,
        };
        let told = self.ticket.progress.as_ref().and_then(|progress| progress.at);
        let last = told.unwrap_or(self.ticket.created_at);
        !is_read && self.tools.calgon.inbox.may_have_forgotten(Some(last))
    }

    /// The end of a ticket that is to be cancelled. A write may have taken effect in an attempt before.
    async fn cancelled(&self, adapter: &dyn TemplateAdapter, event: &Event) -> Outcome {
        match self.effect(adapter, event).await {
            Ok(None) => Outcome::End(End::Cancelled),
            Ok(Some(end)) => Outcome::End(end),
            // An inbox that does not know now will not know later.
            Err(error) if error.kind.is_retryable() && error.kind != ErrorKind::OutcomeUnknown => {
                Outcome::Again { failed: false, pause: WHILE_AWAY }
            }
            Err(error) => Outcome::End(End::Failed(Problem::of(&error))),
        }
    }

    /// The end of work that has taken effect as a whole in an attempt before. None where it has not, and will not.
    async fn effect(&self, adapter: &dyn TemplateAdapter, event: &Event) -> Result<Option<End>> {
        let asked = match self.job_of(event) {
            Ok(None) if event.operation.is_write() => event.clone(),
            Ok(None) => return Ok(None),
            Ok(Some(job)) => match job.kind {
                JobKind::Read => return Ok(None),
                JobKind::Steps => return self.effect_of_steps(adapter, event, &job).await,
                JobKind::Merge => publishing(event, self.ticket),
            },
            // It was changed or removed: it is not known which kind it was.
            Err(_) => {
                if let Some(end) = self.step_of_another_job(adapter, event).await? {
                    return Ok(Some(end));
                }
                publishing(event, self.ticket)
            }
        };
        match adapter.recall(&Attempt::new(asked, REQUEST)).await? {
            None => Ok(None),
            Some(answer) => {
                let rights = self.tools.factory.check_right(event)?;
                self.keep(&rights, event, answer, self.result_ttl()).await.map(Some)
            }
        }
    }

    /// The work, by the rights and the definitions of now.
    fn permitted(&self, event: &Event) -> Result<TicketWork> {
        let rights = self.tools.factory.check_right(event)?;
        Ok(TicketWork { rights, job: self.job_of(event)? })
    }

    /// The job as it was asked for. None for a request.
    fn job_of(&self, event: &Event) -> Result<Option<Job>> {
        let (Operation::Job, Some(name)) = (event.operation, &event.job) else {
            return Ok(None);
        };
        let job = self.tools.factory.job(&event.template, name)?;
        if job.digest() != self.ticket.definition {
            let text = "the job was changed since the ticket was asked for; ask for it again";
            return Err(BedsError::new(ErrorKind::TemplateUnusable, text));
        }
        Ok(Some(job))
    }

    fn note_touched(&self, touched: Touched) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = touched;
    }

    /// Keeps the calls of an attempt for the lineage.
    fn note_calls(&self, attempt: &Attempt) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST_CALLS - calls.len();
        calls.extend(attempt.steps.take().calls.into_iter().take(room));
    }

    /// Writes the outcome. False where the ticket is another node's.
    async fn write(&self, outcome: &Outcome) -> bool {
        let keep = self.tools.calgon.config.keep;
        let result_ttl = self.result_ttl();
        loop {
            let written = match outcome {
                Outcome::Nothing => return false,
                Outcome::End(end) => self.store.end(self.ticket, end, result_ttl, keep).await,
                Outcome::Again { failed, pause } => {
                    self.store.give_back(self.ticket, *failed, *pause).await
                }
            };
            match written {
                Ok(is_own) => return is_own,
                // A node that stops leaves the rest to the next one.
                Err(error) if self.tools.stop.is_cancelled() => {
                    tracing::warn!(%error, ticket = self.ticket.id, "The end of a ticket's work could not be written.");
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, ticket = self.ticket.id, "The end of a ticket's work cannot be written yet.");
                    tokio::time::sleep(END_AGAIN).await;
                }
            }
        }
    }

    fn result_ttl(&self) -> Duration {
        let job = self.ticket.job.as_deref();
        let job = job.and_then(|job| self.tools.factory.job(&self.ticket.template, job).ok());
        job.map_or(RESULT_TTL, |job| job.result_ttl)
    }
}
