//! [`Relay`]: publishes the changes of one database, in their order, and only then has them removed there. One node of all does it; when
//! it ends, another goes on, and can publish changes again that RabbitMQ has.
//!
//! Not here: how a database keeps its changes (crate adapters), readers (crate gateway).

use std::sync::Arc;
use std::time::Duration;

use beds_core::change::Fed;
use beds_core::{BedsError, Change, ChangeFeed, Complaints};
use beds_transport::topology::stream::GAP_PREFIX;
use beds_transport::{Lease, Transport, TransportError};
use fail::fail_point;
use futures_util::{StreamExt, TryStreamExt, stream};
use metrics::counter;
use tokio_util::sync::CancellationToken;

/// Changes that are published and not confirmed yet, at most.
const UNDER_WAY: usize = 200;
/// After a failure, and until the templates are asked again whether there is work.
const PAUSE: Duration = Duration::from_secs(1);

/// A database whose changes are published.
#[derive(Clone)]
pub struct RelaySpec {
    /// Such as `rel.main`.
    pub database: String,
    pub open: Arc<dyn Fn() -> Box<dyn ChangeFeed> + Send + Sync>,
    /// Whether a template of the database tells its changes.
    pub is_wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) spec: RelaySpec,
    pub(crate) transport: Transport,
    pub(crate) stop: CancellationToken,
    pub(crate) complaints: Arc<Complaints>,
}

/// The reason why changes wait.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Database(#[from] BedsError),
    #[error(transparent)]
    Rabbit(#[from] TransportError),
    #[error("a change could not be written: {0}")]
    Unwritten(#[from] serde_json::Error),
}

impl RelayError {
    /// The words for the node's log, with the driver's where there are any.
    fn log_text(&self) -> String {
        match self {
            RelayError::Database(BedsError { message, source: Some(source), .. }) => {
                format!("{message} ({source})")
            }
            other => other.to_string(),
        }
    }
}

impl Relay {
    /// Publishes until the pools stop.
    pub(crate) async fn serve(self) {
        let stop = self.stop.clone();
        // Cut off in the middle, the changes are published once more by the next one.
        stop.run_until_cancelled(self.publish_for_ever()).await;
    }

    async fn publish_for_ever(&self) {
        loop {
            if (self.spec.is_wanted)() {
                let lead = self.transport.lead(&format!("changes.{}", self.spec.database));
                self.lead(&lead).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Publishes for as long as there is a template that tells changes.
    async fn lead(&self, lead: &Lease) {
        let mut feed = (self.spec.open)();
        while (self.spec.is_wanted)() {
            if !lead.is_held() {
                drop(tokio::time::timeout(PAUSE, lead.held()).await);
                // Another node has published meanwhile.
                feed = (self.spec.open)();
                continue;
            }
            if let Err(error) = self.pass(&mut *feed).await {
                let (database, text) = (&self.spec.database, error.log_text());
                if let Some(before) = self.complaints.say(&format!("changes {database} {text}")) {
                    tracing::warn!(
                        database,
                        error = text,
                        before,
                        "Changes wait in their database."
                    );
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn pass(&self, feed: &mut dyn ChangeFeed) -> Result<(), RelayError> {
        let database = &self.spec.database;
        match feed.next().await? {
            Fed::Gap => {
                tracing::error!(
                    database,
                    "Changes are lost: the database does not have them any more. Readers are told of the gap."
                );
                let key = format!("{GAP_PREFIX}{database}");
                let id = uuid::Uuid::new_v4().to_string();
                self.transport.publisher().change(&key, &id, b"{}").await?;
            }
            Fed::Changes(changes) if changes.is_empty() => return Ok(feed.done().await?),
            Fed::Changes(changes) => {
                let sent: Vec<_> = changes.iter().map(|change| self.send(change)).collect();
                stream::iter(sent).buffered(UNDER_WAY).try_collect::<()>().await?;
                fail_point!("changes_published", |_| std::process::abort());
                let number = u64::try_from(changes.len()).unwrap_or(0);
                counter!("beds_changes_total", "database" => database.clone()).increment(number);
            }
        }
        Ok(feed.done().await?)
    }

    async fn send(&self, change: &Change) -> Result<(), RelayError> {
        let body = serde_json::to_vec(change)?;
        let kind = change.operation.as_str();
        let key = format!("{}.{}.{kind}", self.spec.database, change.template);
        Ok(self.transport.publisher().change(&key, &change.id, &body).await?)
    }
}
