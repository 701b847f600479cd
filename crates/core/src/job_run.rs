//! [`JobRun`]: one attempt at a job, and [`TakesRows`], where its rows go. It never travels.
//!
//! Not here: the definition of a job (template/job.rs), tickets (ticket.rs).

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::{Attempt, Result};

/// An attempt at a job.
#[derive(Debug, Clone)]
pub struct JobRun {
    /// The event, with the time that the work may take.
    pub attempt: Arc<Attempt>,
    /// The ticket, by whose id the database knows the work: no two runs of one are ever there at once.
    pub ticket: String,
    /// The number of the attempt.
    pub epoch: i64,
}

/// The place where the rows of a job go, one after the other. The next one is read when this one is taken.
#[async_trait]
pub trait TakesRows: Send {
    /// # Errors
    /// The rows cannot be taken any more; the work is to end.
    async fn push(&mut self, row: Box<RawValue>) -> Result<()>;
}

/// Comes to its end when a run is to end.
pub type Stop<'s> = Pin<Box<dyn Future<Output = ()> + Send + 's>>;

/// A text by which a database knows the work of a ticket: the name of a lock.
pub fn mark(ticket: &str) -> String {
    format!("beds:ticket:{ticket}")
}

/// A text by which a database knows one attempt: the name of a lock, or a comment.
pub fn mark_of_attempt(ticket: &str, epoch: i64) -> String {
    format!("{}:{epoch}", mark(ticket))
}

/// The marks of the attempts before one, the latest first, as far back as one of them may still run. By these alone an attempt ends
/// others: never one that came after it.
pub fn marks_before(ticket: &str, epoch: i64) -> Vec<String> {
    let first = (epoch - MOST_BEFORE).max(1);
    (first..epoch).rev().map(|epoch| mark_of_attempt(ticket, epoch)).collect()
}

/// Attempts that are looked at: each ends those before it.
const MOST_BEFORE: i64 = 8;
