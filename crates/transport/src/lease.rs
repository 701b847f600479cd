//! [`Lease`]: the name of a node, which no two live nodes have. An exclusive queue is the lease: RabbitMQ gives it to one connection,
//! and takes it back when that connection ends.
//!
//! Not here: the tasks that a node without its name does not begin (beds/src/ipl.rs).

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::link::Link;
use crate::topology::NAME_PREFIX;

/// Between two attempts to get the name; its loss is noticed within a quarter of that.
const PAUSE: Duration = Duration::from_secs(1);
/// A new node waits that long for the one before it, without being called unready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cheap to clone.
#[derive(Clone)]
pub struct Lease(watch::Receiver<LeaseState>);

#[derive(Clone, Copy)]
struct LeaseState {
    is_held: bool,
    since: Instant,
}

impl Lease {
    /// The lease, and the work that gets and keeps it.
    pub(crate) fn new(link: Link, node: &str) -> (Self, impl Fn() -> KeepFuture + use<>) {
        let (sender, state) = watch::channel(LeaseState { is_held: false, since: Instant::now() });
        let keeper = Arc::new(LeaseKeeper { link, queue: format!("{NAME_PREFIX}{node}"), sender });
        (Self(state), move || Box::pin(Arc::clone(&keeper).keep()) as KeepFuture)
    }

    pub fn is_held(&self) -> bool {
        self.0.borrow().is_held
    }

    /// True where the name has not been held for longer than a restart takes: another node has it, or RabbitMQ is away.
    pub fn is_missed(&self) -> bool {
        let state = *self.0.borrow();
        !state.is_held && state.since.elapsed() >= PATIENCE
    }

    /// Waits until the name is held.
    pub async fn held(&self) {
        self.wait(true).await;
    }

    /// Waits until the name is lost.
    pub async fn lost(&self) {
        self.wait(false).await;
    }

    async fn wait(&self, is_held: bool) {
        if self.0.clone().wait_for(|state| state.is_held == is_held).await.is_err() {
            // The node is stopping.
            std::future::pending::<()>().await;
        }
    }
}

pub(crate) type KeepFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

struct LeaseKeeper {
    link: Link,
    queue: String,
    sender: watch::Sender<LeaseState>,
}

impl LeaseKeeper {
    async fn keep(self: Arc<Self>) {
        let (mut is_said, mut is_said_late) = (false, false);
        loop {
            self.note(false);
            match self.take().await {
                Ok(channel) => {
                    self.note(true);
                    if is_said {
                        tracing::info!(
                            queue = self.queue,
                            "The name of this node is held; its admin tasks begin."
                        );
                    }
                    (is_said, is_said_late) = (false, false);
                    while channel.status().connected() {
                        tokio::time::sleep(PAUSE / 4).await;
                    }
                    tracing::warn!(
                        queue = self.queue,
                        "The name of this node is not held any more."
                    );
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::warn!(
                            queue = self.queue,
                            %error,
                            "The name of this node is not to be had: another node may have it. Its admin tasks wait."
                        );
                    }
                    let is_late = self.sender.borrow().since.elapsed() >= PATIENCE;
                    if is_late && !std::mem::replace(&mut is_said_late, true) {
                        tracing::error!(
                            queue = self.queue,
                            "Another node has had the name of this node for a minute. Fix: give each its own node.name."
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn take(&self) -> lapin::Result<Channel> {
        let live = self.link.live().await;
        let channel = live.connection.create_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default()).await?;
        Ok(channel)
    }

    fn note(&self, is_held: bool) {
        self.sender.send_if_modified(|state| {
            let is_news = state.is_held != is_held;
            if is_news {
                *state = LeaseState { is_held, since: Instant::now() };
            }
            is_news
        });
    }
}
