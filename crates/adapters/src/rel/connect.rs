//! The connections to one MariaDB database. What is said over them is `call`'s and `once`'s.

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
    tasks: TaskTracker,
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
        Ok(Self { name: name.to_owned(), address, pool: Pool::new(opts), tasks: TaskTracker::new() })
    }

    /// A connection, or "not available" after [`PATIENCE`].
    pub(crate) async fn connection(&self) -> Result<Conn> {
        match tokio::time::timeout(PATIENCE, self.pool.get_conn()).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => Err(self.unavailable().with_source(error)),
            Err(_) => Err(self.unavailable()),
        }
    }

    /// Asks whether the database answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        use mysql_async::prelude::Queryable;
        let mut conn = self.connection().await?;
        conn.ping().await.map_err(|e| self.unavailable().with_source(e))
    }

    /// Ends a connection that must not be used again: it may be in the middle of a transaction.
    pub(crate) fn discard(&self, conn: Conn) {
        self.tasks.spawn(async move {
            if let Err(error) = conn.disconnect().await {
                tracing::debug!(%error, "A discarded connection did not close cleanly.");
            }
        });
    }

    pub(crate) async fn close(&self) {
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
