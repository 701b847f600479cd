//! A job in MongoDB: one command whose documents are handed on as they come. It carries a comment with the name of the ticket, by which
//! an earlier run of the same ticket is found and ended first.
//!
//! Not here: requests (call.rs), the ticket itself (crate broker).

use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_core::job_run::{mark_of_attempt, marks_before};
use beds_core::{BedsError, JobEnd, JobRun, Result, Stop, TakesRows};
use bson::{Bson, Document};
use futures_util::future::FusedFuture;
use futures_util::{FutureExt, TryStreamExt};
use mongodb::Database as Handle;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::bind::Binding;
use super::call::{Failure, limit_time, record};
use super::command::Arguments;
use super::connect::Database;
use crate::ended::still_there;

/// Between two looks for a command that was not sent yet, and how long that is gone on with.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// Documents between the cursor and the result. The cursor itself holds a batch of at most 16 MiB.
const BETWEEN: usize = 16;

/// Runs the job.
pub(super) async fn run(
    database: &Database,
    binding: &Arc<Binding>,
    arguments: &Arguments,
    run: &JobRun,
    rows: &mut dyn TakesRows,
    stop: Stop<'_>,
) -> Result<JobEnd> {
    let step = run.attempt.steps.begin(&binding.form.object);
    let mut command = binding.command.with(arguments);
    limit_time(&mut command, &run.attempt, i64::from(i32::MAX));
    command.insert("readConcern", bson::doc! {"level": "majority"});
    if binding.is_merge {
        command.insert("writeConcern", bson::doc! {"w": "majority", "j": true});
    }
    let comment = mark_of_attempt(&run.ticket, run.epoch);
    command.insert("comment", &comment);
    let (sender, mut taken) = mpsc::channel(BETWEEN);
    let reading = database.run(read(database.handle.clone(), command, sender)).fuse();
    tokio::pin!(reading);
    // It owns the channel: where it ends early, the other half learns that its documents are not taken any more.
    let taking = async move {
        while let Some(row) = taken.recv().await {
            rows.push(row).await?;
        }
        Result::Ok(())
    };
    let both = async {
        let (read, taken) = tokio::join!(&mut reading, taking);
        taken?;
        read?.map_err(|failure| failure.into_beds(database))
    };
    let ended = tokio::select! {
        biased;
        () = stop => None,
        ended = both => Some(ended),
    };
    step.end(ended.as_ref().and_then(|ended| ended.as_ref().err()).map(BedsError::code));
    match ended {
        Some(Ok(())) => Ok(JobEnd::Done),
        Some(Err(error)) => {
            // Also behind a failure: the command goes on where it was the rows that could not be taken.
            database.end_commented(Bson::from(comment)).await;
            Err(error)
        }
        None if end(database, &comment, reading).await => Ok(JobEnd::Stopped),
        None => Err(still_there(&database.name)),
    }
}

/// Ends the command in the server, and waits for the end of the task that sends it: one that waits for a connection has sent none yet, and
/// would be found by no comment. False where the server has not confirmed it.
async fn end(database: &Database, comment: &str, mut reading: impl FusedFuture + Unpin) -> bool {
    let until = Instant::now() + LONGEST;
    loop {
        if !database.end_commented(Bson::from(comment)).await || Instant::now() > until {
            return false;
        }
        let has_ended =
            reading.is_terminated() || tokio::time::timeout(LOOK_AGAIN, &mut reading).await.is_ok();
        if has_ended {
            return true;
        }
    }
}

/// Ends everything that runs for the attempts before this one, and waits until it has ended.
pub(super) async fn end_before(database: &Database, ticket: &str, epoch: i64) -> Result<()> {
    let of_before = bson::doc! {"$in": marks_before(ticket, epoch)};
    match database.end_commented(Bson::Document(of_before)).await {
        true => Ok(()),
        false => Err(still_there(&database.name)),
    }
}

/// The half that reads: a task of its own, because the driver's futures must not be dropped.
async fn read(
    handle: Handle,
    command: Document,
    rows: mpsc::Sender<Box<RawValue>>,
) -> Result<(), Failure> {
    let mut cursor = handle.run_cursor_command(command).await?;
    while let Some(document) = cursor.try_next().await? {
        if rows.send(record(&document)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
