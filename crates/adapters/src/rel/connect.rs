//! The connections to one MariaDB database. What is said over them is `call`'s and `once`'s.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Result, config};
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts};
use tokio_util::task::TaskTracker;

/// How long a task waits for a connection before it says that the database is away.
const PATIENCE: Duration = Duration::from_secs(3);

/// One database with its pool of connections: one for each broker task that can use it, and one to ask with.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) address: String,
    pool: Pool,
    /// Connections that nobody uses now. The pool would pass each one through a task of its own and ask the socket first;
    /// a dead one shows itself at its first use, and then all of these go.
    idle: Mutex<Vec<Conn>>,
    tasks: TaskTracker,
}

/// A connection on loan. It goes back by [`Loan::give_back`] only: dropped otherwise it is closed, because a handler that
/// was cancelled may have left it in the middle of a result or of a transaction.
pub(crate) struct Loan<'d> {
    database: &'d Database,
    conn: Option<Conn>,
}

impl Database {
    /// Prepares the pool; connects to nothing yet.
    pub(crate) fn new(name: &str, config: &config::Database, connections: usize) -> Result<Self> {
        let opts = Opts::from_url(config.url.expose()).map_err(|e| {
            let text = format!("databases.rel.{name}: the url cannot be used");
            BedsError::new(ErrorKind::StoreUnavailable, text).with_source(e)
        })?;
        let constraints = PoolConstraints::new(connections, connections + 1).unwrap_or_default();
        let pool_opts = PoolOpts::new()
            .with_constraints(constraints)
            // A reset on each return would also clear the statement cache: two more round trips a call. Objects that
            // leave session state behind break the contract with the DBA (docs/dba.md).
            .with_reset_connection(false)
            .with_inactive_connection_ttl(Duration::from_secs(60));
        let opts = OptsBuilder::from_opts(opts)
            .pool_opts(pool_opts)
            .stmt_cache_size(256)
            // Counts rows found, not rows changed: an update that changes nothing is not a 404.
            .client_found_rows(true)
            .tcp_nodelay(true)
            // Said here, or the driver asks the server for both at each new connection.
            .max_allowed_packet(Some(16 * 1024 * 1024))
            .wait_timeout(Some(28_800));
        let address = config.url.address().to_owned();
        let (pool, idle) = (Pool::new(opts), Mutex::default());
        Ok(Self { name: name.to_owned(), address, pool, idle, tasks: TaskTracker::new() })
    }

    /// A connection, or "not available" after [`PATIENCE`].
    pub(crate) async fn connection(&self) -> Result<Loan<'_>> {
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => match tokio::time::timeout(PATIENCE, self.pool.get_conn()).await {
                Ok(Ok(conn)) => conn,
                Ok(Err(error)) => return Err(self.unavailable().with_source(error)),
                Err(_) => return Err(self.unavailable()),
            },
        };
        Ok(Loan { database: self, conn: Some(conn) })
    }

    /// Asks whether the database answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        use mysql_async::prelude::Queryable;
        let mut loan = self.connection().await?;
        match tokio::time::timeout(PATIENCE, loan.conn().ping()).await {
            Ok(Ok(())) => loan.give_back(),
            Err(_) => return Err(self.unavailable()),
            Ok(Err(error)) => {
                self.lost();
                return Err(self.unavailable().with_source(error));
            }
        }
        Ok(())
    }

    /// A connection broke, so the idle ones are most likely broken too.
    pub(crate) fn lost(&self) {
        let idle = std::mem::take(&mut *self.idle());
        idle.into_iter().for_each(|conn| self.discard(conn));
    }

    fn discard(&self, conn: Conn) {
        self.tasks.spawn(async move {
            if let Err(error) = conn.disconnect().await {
                tracing::debug!(%error, "A discarded connection did not close cleanly.");
            }
        });
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn close(&self) {
        self.lost();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.pool.clone().disconnect().await {
            tracing::debug!(%error, "The pool did not close cleanly.");
        }
    }

    pub(crate) fn unavailable(&self) -> BedsError {
        let text = format!("the database {} is not available; not executed", self.name);
        BedsError::new(ErrorKind::StoreUnavailable, text)
    }
}

impl Loan<'_> {
    #[expect(clippy::expect_used, reason = "the connection is only taken by give_back and drop, which end the loan")]
    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("the loan has not ended")
    }

    /// Nothing is open on the connection: the next one may have it.
    pub(crate) fn give_back(mut self) {
        if let Some(conn) = self.conn.take() {
            self.database.idle().push(conn);
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.database.discard(conn);
        }
    }
}
