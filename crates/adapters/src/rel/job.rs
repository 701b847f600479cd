//! A job in MariaDB: one call whose rows are handed on as they come, on a connection of its own. The connection holds a lock by the name
//! of the ticket, so that no two runs of one ticket are ever in the database at once.
//!
//! Not here: requests (call.rs), the ticket itself (crate broker).

use std::time::Duration;

use beds_core::job_run::{mark, mark_of_attempt};
use beds_core::{BedsError, ErrorKind, JobEnd, JobRun, Result, Stop, TakesRows};
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Value as Sql};

use super::bind::Binding;
use super::call::{Failure, is_bound};
use super::connect::{Database, Loan};
use super::json::ResultColumns;
use crate::ended::still_there;

/// For the answer to a statement that takes no time: a connection that is silent is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the job. Everything that it wrote is rolled back.
pub(super) async fn run(
    database: &Database,
    binding: &Binding,
    arguments: &[Sql],
    run: &JobRun,
    rows: &mut dyn TakesRows,
    stop: Stop<'_>,
) -> Result<JobEnd> {
    let step = run.attempt.steps.begin(&binding.form.object);
    let mut loan =
        database.job(&mark(&run.ticket), mark_of_attempt(&run.ticket, run.epoch)).await?;
    let ended = tokio::select! {
        biased;
        () = stop => None,
        ended = stream(&mut loan, binding, arguments, rows) => Some(ended),
    };
    let failure = match ended {
        Some(Ok(())) => {
            step.end(None);
            // Rolled back with the connection, which ends here.
            loan.close(PATIENCE).await;
            return Ok(JobEnd::Done);
        }
        Some(Err(failure)) => Some(failure),
        None => None,
    };
    step.end(failure.as_ref().map(Failure::code));
    // Also behind a failure: the object goes on where it was the rows that could not be taken.
    let has_ended = loan.end().await;
    match failure {
        Some(failure) => Err(failure.into_beds(database)),
        None if has_ended => Ok(JobEnd::Stopped),
        None => Err(still_there(&database.name)),
    }
}

async fn stream(
    loan: &mut Loan,
    binding: &Binding,
    arguments: &[Sql],
    rows: &mut dyn TakesRows,
) -> Result<(), Failure> {
    loan.begin_to_roll_back().await?;
    check(loan, binding).await?;
    let conn = loan.calling();
    let mut result =
        conn.exec_iter(binding.statement.as_str(), Params::Positional(arguments.to_vec())).await?;
    let mut sets = 0;
    while !result.is_empty() {
        let columns = result.columns().unwrap_or_default();
        sets += usize::from(!columns.is_empty());
        if sets > 1 {
            return Err(Failure::Beds(binding.form.wrong("a second result set")));
        }
        let columns = ResultColumns::new(columns, &binding.form.id, &binding.json);
        if let Some(name) = columns.twice() {
            return Err(Failure::Beds(binding.form.twice(&name)));
        }
        while let Some(row) = result.next().await? {
            let record = columns
                .record(&row)
                .map_err(|_| Failure::Beds(binding.form.wrong("a row that has no form in JSON")))?;
            // Waits for room: the server sends no more than fits into the socket meanwhile.
            rows.push(record).await.map_err(Failure::Beds)?;
        }
    }
    result.drop_result().await?;
    loan.has_answered();
    check(loan, binding).await
}

/// An error where the object is not the one that was bound. It is bound anew meanwhile, for the next attempt.
async fn check(loan: &mut Loan, binding: &Binding) -> Result<(), Failure> {
    if is_bound(loan, binding).await? {
        return Ok(());
    }
    let text = "the named object was replaced; its result is not used";
    Err(Failure::Beds(BedsError::new(ErrorKind::Unavailable, text)))
}
