//! The connections to one MongoDB database.
//!
//! Not here: commands (call.rs, once.rs).

mod end;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Result, config};
use bson::{Document, doc};
use jiff::Timestamp;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Database as Handle};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pulse::Pulse;
use end::{AT_A_TIME, Ender};

/// The collection with the keys of writes, and with their answers.
pub(super) const INBOX: &str = "beds_inbox";

/// How long a task waits for a place, and for the answer to a ping.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the driver looks for a server that can. It does so twice for a read.
const SELECTED_WITHIN: Duration = Duration::from_secs(2);
/// Connections beyond those of the broker tasks: for pings, catalogs, changes and work whose task has gone on.
const SPARE: usize = 5;

/// One database. The driver warns against dropping its futures, so every call runs as a task of its own; only looks for reads
/// that were given up are dropped, when they take too long.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) address: String,
    /// For how many days the inbox is asked about.
    pub(super) keep_days: u16,
    /// The longest that one event is worked on.
    pub(super) handler_seconds: i64,
    pub(super) client: Client,
    pub(super) handle: Handle,
    pub(crate) pulse: Pulse,
    ender: Ender,
    tasks: TaskTracker,
    /// As many as there are connections: work without a waiting task cannot pile up at a server that is silent.
    permits: Arc<Semaphore>,
    is_pinged: Arc<AtomicBool>,
}

impl Database {
    /// Prepares the pool; connects to nothing yet.
    pub(crate) async fn new(
        name: &str,
        database: &config::Database,
        connections: usize,
        config: &beds_core::Config,
    ) -> Result<Self> {
        let unusable = |e: mongodb::error::Error| {
            let text = format!("databases.rec.{name}: the url cannot be used");
            BedsError::new(ErrorKind::StoreUnavailable, text).with_source(e)
        };
        let mut options = ClientOptions::parse(database.url.expose()).await.map_err(unusable)?;
        options.app_name = Some("beds".to_owned());
        // The driver's defaults of 10 and 2 would be a second throttle beside the pool of broker tasks.
        let connections = connections + SPARE;
        options.max_pool_size = Some(u32::try_from(connections + AT_A_TIME).unwrap_or(u32::MAX));
        options.max_connecting = Some(8);
        options.server_selection_timeout = Some(SELECTED_WITHIN);
        options.connect_timeout = Some(PATIENCE);
        // Said explicitly: the defaults of older servers lose acknowledged writes.
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.read_concern = Some(ReadConcern::majority());
        let name_there = options.default_database.clone().unwrap_or_else(|| name.to_owned());
        let client = Client::with_options(options).map_err(unusable)?;
        let handle = client.database(&name_there);
        let tasks = TaskTracker::new();
        Ok(Self {
            name: name.to_owned(),
            address: database.url.address().to_owned(),
            keep_days: config.inbox.keep_days.get(),
            handler_seconds: i64::try_from(config.services.rec.handler_timeout.as_secs())
                .unwrap_or(i64::MAX),
            ender: Ender::new(&client, &tasks),
            client,
            handle,
            pulse: Pulse::default(),
            tasks,
            permits: Arc::new(Semaphore::new(connections)),
            is_pinged: Arc::default(),
        })
    }

    /// Runs driver work to its end even if its task has gone on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let lost =
            || BedsError::new(ErrorKind::Internal, "a database task ended without an answer");
        let permit =
            tokio::time::timeout(PATIENCE, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(self.unavailable()) };
        let work = async move {
            let outcome = work.await;
            drop(permit);
            outcome
        };
        self.tasks.spawn(work).await.map_err(|e| lost().with_source(e))
    }

    /// Ends operations by their comments; false where they did not end.
    pub(super) async fn end_commented(&self, comment: bson::Bson) -> bool {
        self.ender.end_commented(comment).await
    }

    /// Runs a read. Dropped before its end, it is ended in the server, if it has begun there.
    pub(super) async fn run_watched<T, F>(
        &self,
        mut command: Document,
        work: impl FnOnce(Document) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let done = CancellationToken::new();
        let _watched = self.ender.watch(&mut command, done.clone());
        // It goes with the work, begun or not: work that never got a connection has ended too.
        let guard = done.drop_guard();
        let work = work(command);
        self.run(async move {
            let _guard = guard;
            work.await
        })
        .await
    }

    /// Asks whether the database answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        if self.is_pinged.swap(true, Ordering::Relaxed) {
            // The one before has no answer yet.
            return Err(self.unavailable());
        }
        let (handle, is_pinged) = (self.handle.clone(), Arc::clone(&self.is_pinged));
        let asked = Timestamp::now();
        let ping = self.run(async move {
            let pong = handle.run_command(doc! {"hello": 1}).await;
            is_pinged.store(false, Ordering::Relaxed);
            pong
        });
        match tokio::time::timeout(PATIENCE, ping).await {
            Ok(Ok(pong)) => {
                let pong = pong.map_err(|e| self.unavailable().with_source(e))?;
                let said = pong.get_datetime("localTime").ok().map(|at| at.timestamp_millis());
                if let Some(said) = said.and_then(|millis| Timestamp::from_millisecond(millis).ok())
                {
                    self.pulse.note_clock(said, asked, Timestamp::now());
                }
                Ok(())
            }
            Ok(Err(error)) => {
                // No ping ran to its end that could have taken the mark back.
                self.is_pinged.store(false, Ordering::Relaxed);
                Err(error)
            }
            // The mark stays until MongoDB answers: unanswered pings must not pile up.
            Err(_) => Err(self.unavailable()),
        }
    }

    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// An error where the last look found no server: waiting would only take a task.
    pub(super) fn check_there(&self) -> Result<()> {
        if self.pulse.is_away() { Err(self.unavailable()) } else { Ok(()) }
    }

    pub(crate) fn unavailable(&self) -> BedsError {
        let text = format!("the database {} is not available; not executed", self.name);
        BedsError::new(ErrorKind::StoreUnavailable, text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_read_that_got_no_connection_is_not_ended_in_the_server() {
        let text = "[amqp]\nurl = \"amqp://a:b@127.0.0.1:9/v\"\n[databases.rec.main]\nurl = \"mongodb://127.0.0.1:9/main\"\n";
        let read = |_: &Path| Ok(String::new());
        let config = config::load("beds.toml", text, Path::new("."), [], &read).unwrap();
        let database =
            Database::new("main", &config.databases.rec["main"], 1, &config).await.unwrap();
        let all = u32::try_from(database.permits.available_permits()).unwrap();
        let _held = Arc::clone(&database.permits).acquire_many_owned(all).await.unwrap();
        let refused = database.run_watched(doc! {"find": "x"}, |_| async {}).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::StoreUnavailable);
        let gone = database.run_watched(doc! {"find": "x"}, |_| async {});
        assert!(tokio::time::timeout(PATIENCE / 2, gone).await.is_err(), "its caller leaves");
        assert!(database.tasks.is_empty(), "nothing has begun, so nothing is left to end");
    }
}
