//! [`Run`]: one attempt at a ticket, from its claim to its end. Each move names the attempt, so that one that has lost its lease changes
//! nothing; and nothing is said to have ended that the database has not confirmed.
//!
//! Not here: the loop that takes tickets (runner.rs), the rows of the result (sink.rs).

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use beds_core::reply::Answer;
use beds_core::template::job::Job;
use beds_core::ticket::{Problem, ResultForm, Ticket, TicketState};
use beds_core::{
    Attempt, BedsError, ErrorKind, Event, JobEnd, JobRun, Operation, Result, TakesRows,
    TemplateAdapter,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::child;
use super::lease::{Lease, Said};
use super::outcome::{self, FIRST_PAUSE, Outcome, WHILE_AWAY};
use super::report::AttemptReport;
use super::sink::Sink;
use super::store::{End, Store};
use super::tools::Tools;
use crate::touched::Touched;

/// So many lost leases are a failure: the work itself seems to end its nodes.
const MOST_LOST: i64 = 3;
/// The longest that a request with a ticket takes: it is no job.
const REQUEST: Duration = Duration::from_secs(30);
/// How long the result of a request is kept, and its most bytes.
const RESULT_TTL: Duration = Duration::from_hours(24);
const MOST_BYTES: i64 = 64 << 20;
/// The pause before the lease is asked for again while the store is away: where it comes back, the lease is this node's before another
/// one takes the ticket.
const SPEAK_AGAIN: Duration = Duration::from_secs(1);
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

/// The kinds of work.
enum TicketWork {
    Job(Job),
    Request,
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
        let work = match self.begin(event).await {
            Ok(begun) => begun,
            Err(outcome) => return outcome,
        };
        let (adapter, work) = work;
        let (timeout, attempts) = match &work {
            TicketWork::Job(job) => (job.timeout, i64::from(job.attempts.get())),
            TicketWork::Request => (REQUEST, 3),
        };
        let mut event = event.clone();
        let longest = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
        event.deadline = event.issued_at.checked_add(longest).unwrap_or(Timestamp::MAX);
        let attempt = Arc::new(Attempt::new(event, timeout));
        let working = async {
            match &work {
                TicketWork::Job(job) => self.job(adapter.as_ref(), &attempt, job).await,
                TicketWork::Request => self.request(adapter.as_ref(), &attempt).await,
            }
        };
        let (outcome, ()) = tokio::join!(
            async {
                let outcome = working.await;
                // The watch ends with the work, and with its end in the database.
                self.done.cancel();
                outcome
            },
            self.watch(timeout),
        );
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
        let again = |_| Outcome::Again { failed: false, pause: WHILE_AWAY };
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
        if self.ticket.lost >= MOST_LOST {
            let text = "the nodes that worked on it fell silent, one after the other";
            let error = BedsError::new(ErrorKind::WorkersLost, text);
            return Err(Outcome::End(End::Failed(Problem::of(&error))));
        }
        let work =
            self.permitted(event).map_err(|error| outcome::of_failure(self.ticket, &error, 1))?;
        match self.lease.beat(&self.store).await {
            Said::Held => Ok((adapter, work)),
            Said::Cancel => Err(self.cancelled(adapter.as_ref(), event).await),
            Said::Lost => Err(Outcome::Nothing),
            Said::Silence => Err(Outcome::Again { failed: false, pause: FIRST_PAUSE }),
        }
    }

    /// The end of a ticket that is to be cancelled. A write may have taken effect in an attempt before.
    async fn cancelled(&self, adapter: &dyn TemplateAdapter, event: &Event) -> Outcome {
        if !event.operation.is_write() {
            return Outcome::End(End::Cancelled);
        }
        match adapter.recall(&Attempt::new(event.clone(), REQUEST)).await {
            Ok(None) => Outcome::End(End::Cancelled),
            Ok(Some(answer)) => match self.keep(event, answer).await {
                Ok(end) => Outcome::End(end),
                Err(error) => outcome::of_failure(self.ticket, &error, 1),
            },
            Err(_) => Outcome::Again { failed: false, pause: WHILE_AWAY },
        }
    }

    /// The work, by the rights and the definitions of now.
    fn permitted(&self, event: &Event) -> Result<TicketWork> {
        let factory = &self.tools.factory;
        factory.check_right(event)?;
        let (Operation::Job, Some(name)) = (event.operation, &event.job) else {
            return Ok(TicketWork::Request);
        };
        let job = factory.job(&event.template, name)?;
        if job.digest() != self.ticket.definition {
            let text = "the job was changed since the ticket was asked for; ask for it again";
            return Err(BedsError::new(ErrorKind::TemplateUnusable, text));
        }
        Ok(TicketWork::Job(job))
    }

    /// Runs a job. None where it was stopped.
    async fn job(
        &self,
        adapter: &dyn TemplateAdapter,
        attempt: &Arc<Attempt>,
        job: &Job,
    ) -> Result<Option<End>> {
        let event = &attempt.event;
        let rights = self.tools.factory.check_right(event)?;
        let hidden = rights.hidden(&event.actor, event.operation, event.name());
        let hidden = hidden.into_iter().map(str::to_owned).collect();
        let most_bytes = i64::from(job.result_max_mib.get()) << 20;
        let keep = job.timeout + job.result_ttl;
        let mut sink =
            Sink::new(&self.store, &self.lease, ResultForm::Rows, hidden, most_bytes, keep)
                .of_records(self.tools.factory.id_field(&event.template));
        let (ticket, epoch) = (self.ticket.id.clone(), self.ticket.epoch);
        let run = JobRun { attempt: Arc::clone(attempt), ticket, epoch };
        let stop = Box::pin(self.halt.cancelled());
        match adapter.run(&run, &mut sink, stop).await? {
            JobEnd::Stopped => Ok(None),
            JobEnd::Done => {
                let (ids, others) = sink.seen();
                let touched = Touched::rows(&self.tools.reports, &event.template, ids, others);
                self.note_touched(touched);
                Ok(Some(End::Done(sink.finish().await?)))
            }
        }
    }

    /// Does a request as a worker would: a write takes effect once.
    async fn request(
        &self,
        adapter: &dyn TemplateAdapter,
        attempt: &Arc<Attempt>,
    ) -> Result<Option<End>> {
        let event = &attempt.event;
        let rights = self.tools.factory.check_right(event)?;
        let answer = adapter.work(attempt).await.map_err(|error| rights.quiet(event, error))?;
        self.keep(event, answer).await.map(Some)
    }

    /// Keeps the answer of a request as the result.
    async fn keep(&self, event: &Event, answer: Answer) -> Result<End> {
        let rights = self.tools.factory.check_right(event)?;
        let (factory, reports) = (&self.tools.factory, &self.tools.reports);
        self.note_touched(Touched::by(factory, reports, event, Some(&answer)));
        let answer = rights.mask(event, answer)?;
        let hidden = rights.hidden(&event.actor, event.operation, event.name());
        let hidden = hidden.into_iter().map(str::to_owned).collect();
        let is_page = event.operation == Operation::List || event.name().is_some();
        let form = if is_page { ResultForm::Page } else { ResultForm::Record };
        let kept = REQUEST + RESULT_TTL;
        let mut sink = Sink::new(&self.store, &self.lease, form, hidden, MOST_BYTES, kept);
        let unwritten = |error| {
            BedsError::new(ErrorKind::Internal, "the answer could not be kept").with_source(error)
        };
        let answer: Box<RawValue> = serde_json::value::to_raw_value(&answer).map_err(unwritten)?;
        sink.push(answer).await?;
        Ok(End::Done(sink.finish().await?))
    }

    /// Keeps the lease while the work goes on, and halts it where it has to end.
    async fn watch(&self, timeout: Duration) {
        let notice = Ticket::notice(&self.ticket.id);
        let too_long = tokio::time::sleep(timeout);
        tokio::pin!(too_long);
        let mut pause = self.lease.pause();
        loop {
            let is_halted = self.halt.is_cancelled();
            let watched = self.tools.notices.enter(&notice);
            tokio::select! {
                biased;
                () = self.done.cancelled() => return,
                () = self.tools.stop.cancelled(), if !is_halted => self.end_for(Reason::Stop),
                () = &mut too_long, if !is_halted => self.end_for(Reason::TooLong),
                () = watched.given_up(), if !is_halted => {}
                () = tokio::time::sleep(pause) => {}
            }
            drop(watched);
            pause = self.lease.pause();
            // Goes on while the database ends the work: another node would begin it anew.
            match self.lease.beat(&self.store).await {
                Said::Held => {}
                Said::Cancel => self.end_for(Reason::Cancel),
                Said::Lost => self.end_for(Reason::Lost),
                // A lease that has run out is this node's as long as no other one has taken it.
                Said::Silence => pause = SPEAK_AGAIN,
            }
        }
    }

    /// Keeps the lease while something is awaited.
    async fn while_speaking<T>(&self, awaited: impl Future<Output = T>) -> T {
        tokio::pin!(awaited);
        loop {
            tokio::select! {
                done = &mut awaited => return done,
                () = tokio::time::sleep(self.lease.pause()) => drop(self.lease.beat(&self.store).await),
            }
        }
    }

    fn note_touched(&self, touched: Touched) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = touched;
    }

    fn end_for(&self, reason: Reason) {
        // The first reason counts.
        self.reason.get_or_init(|| reason);
        self.halt.cancel();
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
