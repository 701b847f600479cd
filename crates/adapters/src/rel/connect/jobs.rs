//! [`Jobs`]: the connections of jobs, each made for one run and gone with it; and how far such a run is.
//!
//! Not here: the call on such a connection (../job.rs).

use std::sync::Arc;

use beds_core::ticket::Progress;
use beds_core::{EventId, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use super::end::Ender;
use super::{Database, Lane, Loan, PATIENCE, SET_UP, Session};
use crate::rel::error;

/// The login of jobs, and its connections: one for each job that runs, and gone with it.
pub(super) struct Jobs {
    pub(super) opts: OptsBuilder,
    pub(super) lane: Arc<Lane>,
    pub(super) ender: Arc<Ender>,
}

impl Database {
    /// A connection for a job, under a lock that no other connection has: that of its ticket. `own` is that of the
    /// attempt, by which it is ended: by that of the ticket, a node that comes back late would end the run of the next one.
    pub(crate) async fn job(&self, lock: &str, own: String) -> Result<Loan> {
        let connecting = async {
            // The semaphore is never closed.
            let place = Arc::clone(&self.jobs.lane.places).acquire_owned().await.ok();
            let opts = self.jobs.opts.clone().setup(vec![SET_UP.to_owned()]);
            let mut conn = Conn::new(opts).await?;
            let take = format!("SELECT GET_LOCK('{own}', 0) AND GET_LOCK('{lock}', 0)");
            let is_own: Option<Option<bool>> = conn.query_first(take).await?;
            let loan = Loan {
                lane: Arc::clone(&self.jobs.lane),
                ender: Arc::clone(&self.jobs.ender),
                tasks: self.tasks.clone(),
                session: Some(Session { conn, lock: own }),
                place,
                is_calling: false,
            };
            mysql_async::Result::Ok(is_own.flatten().unwrap_or(false).then_some(loan))
        };
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(Some(loan))) => Ok(loan),
            // An earlier attempt has not ended, or another node has begun.
            Ok(Ok(None)) | Err(_) => Err(self.unavailable()),
            Ok(Err(error)) => Err(self.unavailable().with_source(error)),
        }
    }

    /// Ends the run that holds a lock; false where it did not end.
    pub(crate) async fn end_job(&self, lock: &str) -> bool {
        self.jobs.ender.end(lock).await
    }

    /// How far the object of a job says to be, in its own transaction, which has not ended. None where it has said nothing.
    pub(crate) async fn progress(&self, id: &EventId) -> Result<Option<Progress>> {
        let mut loan = self.writer().await?;
        let asking = loan.conn().exec_first("CALL `beds_job_progress_of`(?)", (&id.0,));
        let told: Option<(i64, Option<i64>, Option<String>)> =
            match tokio::time::timeout(PATIENCE, asking).await {
                Ok(Ok(told)) => told,
                Ok(Err(error)) => return Err(error::to_beds(error, self)),
                Err(_) => return Err(self.unavailable()),
            };
        loan.give_back();
        Ok(told.map(|(done, total, text)| Progress { done, total, text, at: None }))
    }
}
