//! [`Ender`]: ends calls that were given up. MariaDB goes on with a call whose client has gone, so each connection holds a lock by a
//! name of its own, and by that name a procedure of the DBA's ends the connection's statement.
//!
//! Not here: the decision that a call is given up (broker/src/pool/worker.rs).

use std::sync::{Arc, Mutex, PoisonError};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use tokio::sync::Semaphore;

use crate::ended::{ToEnd, until_ended};

/// So often it is looked at whether KILL QUERY was enough. A handler in a routine can swallow it; KILL CONNECTION ends the rest.
const GENTLE: u32 = 8;
/// Connections to end calls with. They are made when they are needed.
const CONNECTIONS: usize = 2;

/// A name under which the server knows a connection.
pub(super) fn new_lock() -> String {
    format!("beds:{}", uuid::Uuid::new_v4().simple())
}

/// The statement by which a connection takes its name. No other connection can have it.
pub(super) fn take_lock(lock: &str) -> String {
    format!("DO GET_LOCK('{lock}', 0)")
}

/// The statement of the connection with a lock.
struct Call<'e> {
    ender: &'e Ender,
    lock: &'e str,
}

impl ToEnd for Call<'_> {
    async fn end_once(&self, before: u32) -> Result<bool, String> {
        let how = match before {
            0 => "query",
            1..GENTLE => "look",
            _ => "connection",
        };
        self.ender.once(self.lock, how).await.map_err(|error| error.to_string())
    }
}

pub(super) struct Ender {
    opts: Opts,
    places: Semaphore,
    idle: Mutex<Vec<Conn>>,
}

impl Ender {
    pub(super) fn new(opts: &OptsBuilder) -> Arc<Self> {
        let (opts, places, idle) =
            (opts.clone().into(), Semaphore::new(CONNECTIONS), Mutex::default());
        Arc::new(Self { opts, places, idle })
    }

    /// Ends the statement of the connection with this lock, and waits until it has ended.
    ///
    /// False where it did not end.
    pub(super) async fn end(&self, lock: &str) -> bool {
        until_ended(&Call { ender: self, lock }).await
    }

    /// True while the lock is held.
    async fn once(&self, lock: &str, how: &str) -> mysql_async::Result<bool> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok();
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => Conn::new(self.opts.clone()).await?,
        };
        let said = |row: Option<Row>, column: &str| {
            row.and_then(|row| row.get_opt::<i64, _>(column)?.ok()) == Some(1)
        };
        let row: Option<Row> = conn.exec_first("CALL `beds_end`(?,?)", (lock, how)).await?;
        let mut is_held = said(row.clone(), "is_held");
        // Ends a call under the node's own rights, such as that of a view, with these rights.
        if said(row, "is_denied") {
            is_held =
                said(conn.exec_first("CALL `beds_end_own`(?,?)", (lock, how)).await?, "is_held");
        }
        // A connection that failed has been dropped above, so a good one goes back.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        Ok(is_held)
    }

    /// Closes its connections.
    pub(super) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for conn in idle {
            if let Err(error) = conn.disconnect().await {
                tracing::debug!(%error, "A connection did not close cleanly.");
            }
        }
    }
}
