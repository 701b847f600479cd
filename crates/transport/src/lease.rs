//! [`Lease`]: the name of a node, which no two live nodes have, or a piece of work that one node does for all. An exclusive queue is
//! the lease: RabbitMQ gives it to one connection, and takes it back when that connection ends.
//!
//! Not here: the tasks that a node without its name does not begin (beds/src/ipl.rs).

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::link::Link;
use crate::topology::{LEAD_PREFIX, NAME_PREFIX};

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
        let (lease, keeper) = Self::of(link, format!("{NAME_PREFIX}{node}"));
        (lease, move || Box::pin(Arc::clone(&keeper).keep()) as KeepFuture)
    }

    /// The same for a piece of work: where another node has it, all is well.
    pub(crate) fn lead(link: Link, work: &str) -> (Self, impl Fn() -> KeepFuture + use<>) {
        let (lease, keeper) = Self::of(link, format!("{LEAD_PREFIX}{work}"));
        (lease, move || Box::pin(Arc::clone(&keeper).keep_quietly()) as KeepFuture)
    }

    fn of(link: Link, queue: String) -> (Self, Arc<LeaseKeeper>) {
        let (sender, state) = watch::channel(LeaseState { is_held: false, since: Instant::now() });
        (Self(state), Arc::new(LeaseKeeper { link, queue, sender }))
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

    /// As [`LeaseKeeper::keep`], for a lease of which only one of many nodes can have any.
    async fn keep_quietly(self: Arc<Self>) {
        let mut held = None;
        tokio::select! {
            () = self.keep_one_of_many(&mut held) => {}
            // The work is not wanted on this node any more.
            () = self.sender.closed() => {}
        }
        let Some(channel) = held else { return };
        let given_back =
            channel.queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default()).await;
        if let Err(error) = given_back {
            tracing::debug!(queue = self.queue, %error, "The work was given back with the connection.");
        }
    }

    async fn keep_one_of_many(&self, held: &mut Option<Channel>) {
        loop {
            self.note(false);
            match self.take().await {
                Ok(channel) => {
                    self.note(true);
                    tracing::info!(queue = self.queue, "This node does the work for all nodes.");
                    while held.insert(channel.clone()).status().connected() {
                        tokio::time::sleep(PAUSE / 4).await;
                    }
                    *held = None;
                    tracing::info!(
                        queue = self.queue,
                        "This node does the work for all nodes no more."
                    );
                }
                Err(error) => {
                    tracing::debug!(queue = self.queue, %error, "Another node does the work.");
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
