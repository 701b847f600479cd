//! The connections to one MariaDB database: those that read, each in a transaction that cannot write, and those that write.
//! A connection that goes back is as the next caller may have it: everything that a call left in the session is gone.
//!
//! Not here: statements (call.rs, once.rs).

mod end;
mod jobs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Result, config};
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, Opts, OptsBuilder, SslOpts};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::pulse::Pulse;
use end::Ender;
use jobs::Jobs;

/// How long a task waits for a connection before it says that the database is away.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections that read, beyond one for each task: each goes back only when its next transaction is open.
const SPARE_READERS: usize = 2;

/// The first statement of every session, and after every renewal. The mode decides whether a value that does not fit a
/// parameter is refused or cut; the zone, the values of `TIMESTAMP` and `NOW()`.
const SET_UP: &str = "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

/// A read cannot write: unlike the session's setting, a routine cannot undo the transaction's (tried on 10.11.19 and 11.8).
/// The session's holds where a statement ends the transaction, such as unexpected DDL.
const READS_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";
const READ_ONLY: &str = "START TRANSACTION READ ONLY";
/// For a fetch that builds a temporary table, which the above refuses (error 1792).
const TO_ROLL_BACK: &str = "START TRANSACTION READ WRITE";
const ROLL_BACK: &str = "ROLLBACK";
/// Neither a renewed session nor a new transaction resets `FOUND_ROWS()`: a query does (tried on 10.11.19).
const FORGET: &str = "SELECT 1";

/// One database with its connections: one for each broker task that can use it, and some to ask with.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) address: String,
    /// For how many days the inbox is asked about.
    pub(crate) keep_days: u16,
    opts: OptsBuilder,
    ender: Arc<Ender>,
    readers: Arc<Lane>,
    writers: Arc<Lane>,
    jobs: Jobs,
    tasks: TaskTracker,
    pub(crate) pulse: Pulse,
    /// A write of this node's has noted a change.
    pub(super) changed: Notify,
}

/// Connections of one kind. An unused one waits in `idle`; a dead one shows itself at its first use, and then all go.
struct Lane {
    is_of_reads: bool,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
}

/// A connection, and the lock by which the server knows it.
struct Session {
    conn: Conn,
    lock: String,
}

/// A connection on loan. It goes back by [`Loan::give_back`] or [`Loan::renew`] only: dropped otherwise it is closed, because
/// a handler that was cancelled may have left it in the middle of a result or of a transaction.
pub(crate) struct Loan {
    lane: Arc<Lane>,
    ender: Arc<Ender>,
    tasks: TaskTracker,
    session: Option<Session>,
    place: Option<OwnedSemaphorePermit>,
    /// A call of a named object is under way: dropped now, it was given up.
    is_calling: bool,
}

impl Database {
    /// Prepares the connections; connects to nothing yet.
    pub(crate) fn new(
        name: &str,
        config: &config::Database,
        instances: config::Instances,
        jobs: usize,
        inbox: config::Inbox,
    ) -> Result<Self> {
        let opts = opts(name, &config.url, config)?;
        let of_jobs = match &config.jobs {
            Some(login) => self::opts(&format!("{name}.jobs"), &login.url, config)?,
            None => opts.clone(),
        };
        let lane = |is_of_reads, places| {
            Arc::new(Lane {
                is_of_reads,
                places: Arc::new(Semaphore::new(places)),
                idle: Mutex::default(),
            })
        };
        Ok(Self {
            name: name.to_owned(),
            address: config.url.address().to_owned(),
            keep_days: inbox.keep_days.get(),
            ender: Ender::new(&opts.clone().setup(vec![SET_UP])),
            jobs: Jobs {
                ender: Ender::new(&of_jobs.clone().setup(vec![SET_UP])),
                opts: of_jobs,
                lane: lane(false, jobs),
            },
            opts,
            readers: lane(true, usize::from(instances.read.get()) + SPARE_READERS),
            // The two more ask for the pulse and the catalog, and for changes.
            writers: lane(false, usize::from(instances.write.get()) + 2),
            tasks: TaskTracker::new(),
            pulse: Pulse::default(),
            changed: Notify::new(),
        })
    }

    /// A connection in a transaction that cannot write, or "not available" after [`PATIENCE`].
    pub(crate) async fn reader(&self) -> Result<Loan> {
        self.loan(&self.readers).await
    }

    /// A connection without a transaction, or "not available" after [`PATIENCE`].
    pub(crate) async fn writer(&self) -> Result<Loan> {
        self.loan(&self.writers).await
    }

    async fn loan(&self, lane: &Arc<Lane>) -> Result<Loan> {
        let connecting = async {
            // The semaphore is never closed.
            let place = Arc::clone(&lane.places).acquire_owned().await.ok();
            let idle = lane.idle().pop();
            let session = match idle {
                Some(session) => session,
                None => {
                    let lock = end::new_lock();
                    let opts =
                        self.opts.clone().setup(vec![SET_UP.to_owned(), end::take_lock(&lock)]);
                    let mut conn = Conn::new(opts).await?;
                    lane.begin(&mut conn).await?;
                    Session { conn, lock }
                }
            };
            let (lane, ender, tasks) =
                (Arc::clone(lane), Arc::clone(&self.ender), self.tasks.clone());
            mysql_async::Result::Ok(Loan {
                lane,
                ender,
                tasks,
                session: Some(session),
                place,
                is_calling: false,
            })
        };
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(Ok(loan)) => Ok(loan),
            Ok(Err(error)) => Err(self.unavailable().with_source(error)),
            Err(_) => Err(self.unavailable()),
        }
    }

    /// Asks whether the database answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        let mut loan = self.writer().await?;
        match tokio::time::timeout(PATIENCE, loan.conn().ping()).await {
            Ok(Ok(())) => loan.give_back(),
            // The loan is dropped here, which closes the silent connection.
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
        for lane in [&self.readers, &self.writers] {
            let idle = std::mem::take(&mut *lane.idle());
            idle.into_iter().for_each(|session| discard(&self.tasks, session.conn));
        }
    }

    pub(crate) async fn close(&self) {
        self.lost();
        self.tasks.close();
        self.tasks.wait().await;
        self.ender.close().await;
        self.jobs.ender.close().await;
    }

    /// An error where the last look found no server: waiting would only take a task.
    pub(crate) fn check_there(&self) -> Result<()> {
        if self.pulse.is_away() { Err(self.unavailable()) } else { Ok(()) }
    }

    pub(crate) fn unavailable(&self) -> BedsError {
        let text = format!("the database {} is not available; not executed", self.name);
        BedsError::new(ErrorKind::StoreUnavailable, text)
    }

    /// An object that BEDS needs in the database is not there, or is of another release.
    pub(crate) fn not_set_up(&self, source: mysql_async::Error) -> BedsError {
        let text = format!(
            "the database {} lacks beds_* procedures of this release that this login may call; apply schema/rel/*/0001_beds.sql and grant the role beds_runtime",
            self.name
        );
        BedsError::new(ErrorKind::TemplateUnusable, text).with_source(source)
    }
}

/// The options of connections to one address.
fn opts(name: &str, url: &config::Url, config: &config::Database) -> Result<OptsBuilder> {
    let opts = Opts::from_url(url.expose()).map_err(|e| {
        let text = format!("databases.rel.{name}: the url cannot be used");
        BedsError::new(ErrorKind::StoreUnavailable, text).with_source(e)
    })?;
    Ok(with_ca(OptsBuilder::from_opts(opts), config)
        .stmt_cache_size(256)
        // Counts rows found, not rows changed: an update that changes nothing is not a 404.
        .client_found_rows(true)
        .tcp_nodelay(true)
        // Said here, or the driver asks the server for both at each new connection.
        .max_allowed_packet(Some(16 * 1024 * 1024))
        .wait_timeout(Some(28_800)))
}

/// With a file of certificates, TLS is required, and the server's must come from one of them.
pub(super) fn with_ca(opts: OptsBuilder, config: &config::Database) -> OptsBuilder {
    let Some(file) = config.ca_file.clone() else { return opts };
    let ssl =
        SslOpts::default().with_root_certs(vec![file.into()]).with_disable_built_in_roots(true);
    opts.ssl_opts(ssl)
}

impl Lane {
    fn idle(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a new session up for the borrowers of this lane.
    async fn begin(&self, conn: &mut Conn) -> mysql_async::Result<()> {
        if self.is_of_reads {
            conn.query_drop(READS_ONLY).await?;
        }
        self.ready(conn).await
    }

    /// The same for a clean session. Ends the transaction that was open.
    async fn ready(&self, conn: &mut Conn) -> mysql_async::Result<()> {
        if self.is_of_reads { conn.query_drop(READ_ONLY).await } else { Ok(()) }
    }
}

impl Loan {
    #[expect(clippy::expect_used, reason = "the connection is only taken where the loan ends")]
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.session.as_mut().expect("the loan has not ended").conn
    }

    /// The connection for a call of a named object. Until [`Loan::has_answered`], a dropped loan ends the call in the server.
    pub(crate) fn calling(&mut self) -> &mut Conn {
        self.is_calling = true;
        self.conn()
    }

    /// The call has ended.
    pub(crate) fn has_answered(&mut self) {
        self.is_calling = false;
    }

    /// For an object that reads traces of an earlier call from the session: it finds nothing.
    pub(crate) async fn refresh(&mut self) -> mysql_async::Result<()> {
        self.conn().change_user(ChangeUserOpts::default()).await?;
        let lane = Arc::clone(&self.lane);
        lane.begin(self.conn()).await?;
        self.conn().query_drop(FORGET).await
    }

    /// Leaves the transaction that cannot write for one that [`Loan::roll_back`] ends.
    pub(crate) async fn begin_to_roll_back(&mut self) -> mysql_async::Result<()> {
        self.conn().query_drop(TO_ROLL_BACK).await
    }

    pub(crate) async fn roll_back(&mut self) -> mysql_async::Result<()> {
        self.conn().query_drop(ROLL_BACK).await
    }

    /// The session is clean: the next one may have the connection. The caller does not wait for it to be ready.
    pub(crate) fn give_back(mut self) {
        let Some(session) = self.session.take() else { return };
        if self.lane.is_of_reads {
            return self.prepare(session, false);
        }
        self.lane.idle().push(session);
    }

    /// A procedure has left a trace in the session, or did not come to its end: an open transaction, temporary tables,
    /// variables, locks by name. The connection goes back, renewed to the state of a new one.
    pub(crate) fn renew(mut self) {
        if let Some(session) = self.session.take() {
            self.prepare(session, true);
        }
    }

    /// Closes the connection, with everything that is open on it.
    pub(crate) async fn close(mut self, patience: Duration) {
        let Some(session) = self.session.take() else { return };
        if let Ok(Err(error)) = tokio::time::timeout(patience, session.conn.disconnect()).await {
            tracing::debug!(%error, "A connection did not close cleanly.");
        }
    }

    /// Ends the call and the connection, and waits until both have ended in the server; false where they did not.
    pub(crate) async fn end(mut self) -> bool {
        let Some(Session { conn, lock }) = self.session.take() else { return true };
        discard(&self.tasks, conn);
        self.ender.end(&lock).await
    }

    /// Keeps the place until the connection is ready, so that there are never more connections than places.
    fn prepare(&mut self, mut session: Session, is_to_be_renewed: bool) {
        let (lane, place) = (Arc::clone(&self.lane), self.place.take());
        self.tasks.spawn(async move {
            let conn = &mut session.conn;
            let preparing = async {
                if is_to_be_renewed {
                    // With its character set, which a mere reset would take from the server's defaults.
                    conn.change_user(ChangeUserOpts::default()).await?;
                    return lane.begin(conn).await;
                }
                lane.ready(conn).await
            };
            match tokio::time::timeout(PATIENCE, preparing).await {
                Ok(Ok(())) => lane.idle().push(session),
                Ok(Err(error)) => tracing::debug!(%error, "A connection could not be used again."),
                Err(_) => tracing::debug!("A connection did not become ready in time."),
            }
            drop(place);
        });
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(Session { conn, lock }) = self.session.take() else { return };
        // The server reads this goodbye only behind its
        // statement, so a call is ended by its lock.
        discard(&self.tasks, conn);
        if self.is_calling {
            // The place is free again when the server has nothing to do for it any more: the pool is the throttle.
            let (ender, place) = (Arc::clone(&self.ender), self.place.take());
            self.tasks.spawn(async move {
                ender.end(&lock).await;
                drop(place);
            });
        }
    }
}

fn discard(tasks: &TaskTracker, conn: Conn) {
    tasks.spawn(async move {
        if let Err(error) = conn.disconnect().await {
            tracing::debug!(%error, "A discarded connection did not close cleanly.");
        }
    });
}
