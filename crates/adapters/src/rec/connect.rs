//! The connections to one MongoDB database. What is said over them is `call`'s and `once`'s.

use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Result, config};
use bson::doc;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Database as Handle};
use tokio_util::task::TaskTracker;

/// How long a task waits for a server before it says that the database is away.
const PATIENCE: Duration = Duration::from_secs(3);

/// One database. The driver warns against dropping its futures, so every call runs as a task of its own.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(super) client: Client,
    pub(super) handle: Handle,
    tasks: TaskTracker,
}

impl Database {
    /// Prepares the pool; connects to nothing yet.
    pub(crate) async fn new(name: &str, config: &config::Database, connections: usize) -> Result<Self> {
        let unusable = |e: mongodb::error::Error| {
            let text = format!("databases.rec.{name}: the url cannot be used");
            BedsError::new(ErrorKind::StoreUnavailable, text).with_source(e)
        };
        let mut options = ClientOptions::parse(config.url.expose()).await.map_err(unusable)?;
        options.app_name = Some("beds".to_owned());
        // The driver's defaults of 10 and 2 would be a second throttle beside the pool of broker tasks.
        options.max_pool_size = Some(u32::try_from(connections).unwrap_or(u32::MAX).saturating_add(4));
        options.max_connecting = Some(8);
        options.server_selection_timeout = Some(PATIENCE);
        options.connect_timeout = Some(PATIENCE);
        // Said explicitly: the defaults of older servers lose acknowledged writes.
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.read_concern = Some(ReadConcern::majority());
        let database = options.default_database.clone().unwrap_or_else(|| name.to_owned());
        let client = Client::with_options(options).map_err(unusable)?;
        let handle = client.database(&database);
        let address = config.url.address().to_owned();
        Ok(Self { name: name.to_owned(), address, client, handle, tasks: TaskTracker::new() })
    }

    /// Runs driver work to its end even if nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let lost = || BedsError::new(ErrorKind::Internal, "a database task ended without an answer");
        self.tasks.spawn(work).await.map_err(|e| lost().with_source(e))
    }

    /// Asks whether the database answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        let handle = self.handle.clone();
        let pong = self.run(async move { handle.run_command(doc! {"ping": 1}).await }).await?;
        pong.map(drop).map_err(|e| self.unavailable().with_source(e))
    }

    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn unavailable(&self) -> BedsError {
        let text = format!("the database {} is not available; not executed", self.name);
        BedsError::new(ErrorKind::StoreUnavailable, text)
    }
}
