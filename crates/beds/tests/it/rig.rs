//! The ground of the tests. Each has a [`World`] of its own, in which nodes run:
//!
//! ```ignore
//! #[tokio::test(flavor = "multi_thread")]
//! async fn a_thing_that_was_created_is_there() -> Result<()> {
//!     // A vhost, databases and a folder, with the domains of tests/domain: Things in MariaDB, Papers in MongoDB.
//!     let world = World::new().await?;
//!     // All roles in the test's own process. `world.process(..)` is one that can be killed, `world.role(..)` one of a fleet.
//!     let live = world.node().await?;
//!     // Over HTTP, as a caller.
//!     let created = live.api.post("/v1/records/Things", &json!({"name": "one"})).await?;
//!     assert_eq!(created.status, 201, "{}", created.text);
//!     // Over AMQP, as a client in another language.
//!     let event = envelope("py.1", "Things", "create", json!({"name": "two"}));
//!     assert!(world.publish("rel.write", &event.to_string(), json!({"message_id": "py.1"})).await?);
//!     // Awaited, never slept for.
//!     eventually("it is done", async || Ok(live.api.done("rel.write.main").await? == 2)).await?;
//!     // As the DBA.
//!     assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "2");
//!     Ok(())
//! }
//! ```
//!
//! A failed test leaves its folder where `BEDS_TEST_KEEP=1` is set; the node's log is in it.
//!
//! Not here: the domains (tests/domain), the start of the services (tools/devkit).

mod api;
pub(crate) mod callers;
mod envelope;
pub(crate) mod events;
mod files;
pub(crate) mod issuer;
pub(crate) mod killable;
mod maria;
mod mongo;
mod nodes;
pub(crate) mod rabbit;
pub(crate) mod socket;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method};
use uuid::Uuid;

pub(crate) use api::{Answer, Api};
pub(crate) use callers::as_caller;
pub(crate) use envelope::envelope;
pub(crate) use maria::{client, mariadb};
pub(crate) use nodes::{Live, Process, free_port};

/// The longest that a test waits for an event that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A place of its own on the services: a vhost, a MariaDB database, a MongoDB database, and a folder with the files of
/// a node. All of it goes when the value is dropped, unless `BEDS_TEST_KEEP` is set.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) maria: String,
    rabbit: String,
    /// Of the management interface of RabbitMQ.
    http: Client,
    /// Of callers, who show the key of the tests.
    caller: Client,
}

impl World {
    /// A world with the sample domain and the domain of the tests applied.
    pub(crate) async fn new() -> Result<Self> {
        let name = format!("t{}", Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(format!("beds-{name}"));
        let world = Self {
            maria: variable("BEDS_TEST_MARIA_URL")?,
            rabbit: variable("BEDS_TEST_RABBIT_API")?,
            http: Client::new(),
            caller: callers::client(callers::KEY)?,
            folder,
            name,
        };
        std::fs::create_dir_all(&world.folder)?;
        world.rabbit(Method::PUT, &format!("/api/vhosts/{}", world.name), None).await?;
        world.sql_server(&format!("CREATE DATABASE {}", world.name))?;
        world.write_files()?;
        world.apply()?;
        Ok(world)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::env::var_os("BEDS_TEST_KEEP").is_some() {
            return;
        }
        drop(self.drop_documents());
        drop(self.sql_server(&format!("DROP DATABASE IF EXISTS {}", self.name)));
        drop(std::fs::remove_dir_all(&self.folder));
        let path = format!("{}/api/vhosts/{}", self.rabbit, self.name);
        // A blocking client has no place in an async test; curl is enough to clean up.
        drop(Command::new("curl").args(["-s", "-X", "DELETE", &path]).output());
    }
}

/// Waits until a condition is true, and fails with its name if it does not become true.
pub(crate) async fn eventually(
    what: &str,
    mut is_true: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        if is_true().await? {
            return Ok(());
        }
        if begun.elapsed() > SOON {
            bail!("not within {SOON:?}: {what}");
        }
        pause().await;
    }
}

/// Between two looks at the state of another process.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; run the tests with ./dev test"))
}
