//! [`NamasteCore`], the one interface to data, and [`TemplateAdapter`], the seam between the queue and a store.
//!
//! Not here: adapters (`adapters`, REC and REL), the way through a queue (`transport::RemoteTemplate`).

pub mod direct;

use std::sync::Arc;

use async_trait::async_trait;

use crate::attempt::Attempt;
use crate::job_run::{JobRun, Stop, TakesRows};
use crate::reply::Answer;
use crate::ticket::Progress;
use crate::{BedsError, ErrorKind, Event, Payload, Query, Response, Result, TemplateDescription};

/// The unified interface to the records of one template.
///
/// The four methods are the whole contract. The context of a call (lineage, caller, deadline, idempotency key) belongs to
/// the value that implements the trait: a template is opened *for an event*.
#[async_trait]
pub trait NamasteCore: Send + Sync {
    /// Creates one record and answers it as the store now holds it.
    async fn create_record(&self, payload: &Payload) -> Result<Response>;

    /// Reads records: one by id, a page of the default listing, or a named fetch. A fetch by id without a match is
    /// [`crate::ErrorKind::NoSuchRecord`]; the other two answer an empty list.
    async fn fetch_records(&self, query: &Query) -> Result<Vec<Response>>;

    /// Changes the fields given in the payload of the record that [`Payload::id`] names.
    async fn update_record(&self, payload: &Payload) -> Result<Response>;

    /// Deletes one record and answers the deleted record.
    async fn delete_record(&self, id: &str) -> Result<Response>;
}

/// The end of a job's run that was no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// All rows were taken.
    Done,
    /// It was stopped, and the database has confirmed it.
    Stopped,
}

/// A template bound to its store. The factory keeps one for each template: one event in, one answer out.
#[async_trait]
pub trait TemplateAdapter: Send + Sync {
    /// Does what the event asks for. A write takes effect once under its key, and a repeat gets the first answer.
    ///
    /// # Errors
    /// Each kind says how certain the end is: only [`crate::ErrorKind::OutcomeUnknown`] may have had an effect.
    async fn work(&self, attempt: &Arc<Attempt>) -> Result<Answer>;

    /// Looks whether the event could be worked on: its operation is there, and its fields fit.
    ///
    /// # Errors
    /// The mistake of the caller's, or the reason why the operation cannot be used.
    fn check(&self, _event: &Event) -> Result<()> {
        Ok(())
    }

    /// Runs a job: its rows go to `rows`, and nothing that it wrote stays. `stop` ends it: the answer comes when the database has
    /// confirmed that nothing of it runs any more.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unavailable`] where an earlier attempt still runs in the database; those of [`TemplateAdapter::work`].
    async fn run(
        &self,
        _run: &JobRun,
        _rows: &mut dyn TakesRows,
        _stop: Stop<'_>,
    ) -> Result<JobEnd> {
        Err(BedsError::new(ErrorKind::NoSuchOperation, "the store has no jobs"))
    }

    /// How far the object of a job says to be, while it runs for this event. None where it says nothing.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn progress(&self, _event: &Event) -> Result<Option<Progress>> {
        Ok(None)
    }

    /// Ends everything that runs in the database for the attempts at a ticket before this one, and waits until it has ended.
    ///
    /// # Errors
    /// It could not be ended, or the database cannot be asked.
    async fn end_runs_before(&self, _ticket: &str, _epoch: i64) -> Result<()> {
        Ok(())
    }

    /// The id that the event asks for, as the store writes it: a caller can spell one in several ways. None where it asks for none,
    /// or the store cannot tell.
    fn asked_id(&self, _event: &Event) -> Option<String> {
        None
    }

    /// The operations that are bound, with their parameters as the store declares them.
    fn describe(&self) -> TemplateDescription;

    /// Asks the inbox of the template's database for the answer of a write that took effect under the event's key; none where
    /// none did. Changes nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::KeyInFlight`] while one may still take effect, [`crate::ErrorKind::KeyReused`] where the key
    /// belongs to another request, and each error that keeps the inbox from being asked.
    async fn recall(&self, attempt: &Attempt) -> Result<Option<Answer>>;
}
