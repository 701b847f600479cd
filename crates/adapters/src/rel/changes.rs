//! [`Feed`]: the changes of a MariaDB database that are committed and not published. `rec/changes.rs` does the same in MongoDB.
//!
//! Not here: how a change gets into the table, which is `once`'s; the one task that publishes (crate broker).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beds_core::change::Fed;
use beds_core::{Change, ChangeFeed, Result, Template};
use mysql_async::prelude::Queryable;

use super::catalog::Catalog;
use super::connect::{Database, Loan};
use super::error;
use crate::operations::unwritten;

/// Changes that are taken at once.
const MOST: u16 = 500;
/// For the answer of a server that takes no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked where no write of this node's has told: other nodes write too, and the DBA's objects.
const AGAIN: Duration = Duration::from_millis(200);

/// The changes of one database.
pub(crate) struct Feed {
    database: Arc<Database>,
    /// The places of those that were given out.
    given: Vec<u64>,
}

impl Feed {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database, given: Vec::new() }
    }

    async fn take(&self) -> Result<Vec<(u64, String)>> {
        self.ask(async |loan| loan.conn().exec("CALL `beds_changes_take`(?)", (MOST,)).await).await
    }

    async fn ask<T>(
        &self,
        work: impl AsyncFnOnce(&mut Loan) -> mysql_async::Result<T>,
    ) -> Result<T> {
        self.database.check_there()?;
        let mut loan = self.database.writer().await?;
        let answered = tokio::time::timeout(PATIENCE, work(&mut loan)).await;
        match answered {
            Ok(Ok(answer)) => {
                loan.give_back();
                Ok(answer)
            }
            Ok(Err(e)) => Err(error::to_beds(e, &self.database)),
            Err(_) => Err(self.database.unavailable()),
        }
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self) -> Result<Fed> {
        let mut rows = self.take().await?;
        if rows.is_empty() {
            // Ends at its time too.
            drop(tokio::time::timeout(AGAIN, self.database.changed.notified()).await);
            rows = self.take().await?;
        }
        self.given = rows.iter().map(|(seq, _)| *seq).collect();
        let read = |(seq, body): (u64, String)| match serde_json::from_str::<Change>(&body) {
            Ok(change) => Some(Change { seq, ..change }),
            Err(error) => {
                // Only a DBA's own statement can have put it there. It goes with the others, or all behind it would wait for ever.
                tracing::error!(database = self.database.name, seq, %error, "A row of beds_changes is no change; it is left out.");
                None
            }
        };
        Ok(Fed::Changes(rows.into_iter().filter_map(read).collect()))
    }

    async fn done(&mut self) -> Result<()> {
        if self.given.is_empty() {
            return Ok(());
        }
        let seqs = serde_json::to_string(&self.given).map_err(unwritten)?;
        self.ask(async |loan| {
            loan.conn().exec_drop("CALL `beds_changes_done`(?)", (seqs.as_str(),)).await
        })
        .await?;
        self.given.clear();
        Ok(())
    }
}

/// An error text where the database lacks the procedures that changes need, or the login may not call them.
pub(super) fn missing(catalog: &Catalog, template: &Template) -> Option<String> {
    let needed = ["beds_inbox_commit_changes", "beds_changes_take", "beds_changes_done"];
    let is_missing = |name: &&str| {
        !catalog.routines.contains_key(*name) || catalog.not_granted.contains_key(*name)
    };
    let name = needed.into_iter().filter(|_| template.changes.on).find(is_missing)?;
    Some(format!("the template tells its changes, and its database has no {name} for this login"))
}
