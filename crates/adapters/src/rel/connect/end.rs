//! [`Ender`]: ends calls that were given up. MariaDB goes on with a call whose client has gone, so each connection holds a lock by a
//! name of its own, and by that name a procedure of the DBA's ends the connection's statement.
//!
//! Not here: the decision that a call is given up (broker/src/pool/worker.rs).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long KILL QUERY may take. A handler in a routine can swallow it; KILL CONNECTION ends the rest.
const GENTLE: Duration = Duration::from_millis(400);
/// Between two looks at whether the call has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the server may take for one look.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// How long the end is waited for. Behind it, the server's own limits have to help.
const LONGEST: Duration = Duration::from_secs(60);
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

pub(super) struct Ender {
    opts: Opts,
    places: Semaphore,
    idle: Mutex<Vec<Conn>>,
}

impl Ender {
    pub(super) fn new(opts: &OptsBuilder) -> Arc<Self> {
        let (opts, places, idle) = (opts.clone().into(), Semaphore::new(CONNECTIONS), Mutex::default());
        Arc::new(Self { opts, places, idle })
    }

    /// Ends the statement of the connection with this lock, and waits until it has ended.
    pub(super) async fn end(&self, lock: &str) {
        let begun = Instant::now();
        let mut how = "query";
        while begun.elapsed() < LONGEST {
            match tokio::time::timeout(ANSWERED_WITHIN, self.once(lock, how)).await {
                Ok(Ok(false)) => return,
                Ok(Ok(true)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "A call that was given up could not be ended yet."),
                Err(_) => tracing::debug!("The server did not say in time whether a call that was given up has ended."),
            }
            how = if begun.elapsed() < GENTLE { "look" } else { "connection" };
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        tracing::warn!("A call that was given up did not end; the server's own limits have to end it.");
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
        let said = |row: Option<Row>, column: &str| row.and_then(|row| row.get_opt::<i64, _>(column)?.ok()) == Some(1);
        let row: Option<Row> = conn.exec_first("CALL `beds_end`(?,?)", (lock, how)).await?;
        let mut is_held = said(row.clone(), "is_held");
        if said(row, "is_denied") {
            is_held = said(conn.exec_first("CALL `beds_end_own`(?,?)", (lock, how)).await?, "is_held");
        }
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
