//! [`Pools`]: how many broker tasks work on which queue, and how they end. What a task does with a message is
//! `worker`'s; what happens when one panics is `supervisor`'s.

mod supervisor;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use beds_core::RoutingKey;
use beds_transport::Transport;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Factory;

/// Messages that RabbitMQ hands to a task ahead of time, so that it need not wait for the next one. The task still
/// works on one at a time. `bench` measured both; docs/decisions/0005 has the figures.
const READ_PREFETCH: u16 = 4;
const WRITE_PREFETCH: u16 = 2;

/// One pool: a queue and how many tasks work on it.
#[derive(Debug, Clone, Copy)]
pub struct PoolSpec {
    pub key: RoutingKey,
    pub tasks: u16,
    /// The longest that one message is worked on.
    pub handler_timeout: Duration,
}

/// All pools of a node.
pub struct Pools {
    tasks: TaskTracker,
    stop: CancellationToken,
    census: Arc<Census>,
}

/// How many tasks there should be and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Census {
    wanted: AtomicUsize,
    running: AtomicUsize,
    pub(crate) replaced: AtomicUsize,
}

impl Pools {
    pub fn spawn(transport: &Transport, factory: &Arc<Factory>, pools: &[PoolSpec]) -> Self {
        let (tasks, stop, census) = (TaskTracker::new(), CancellationToken::new(), Arc::new(Census::default()));
        for pool in pools {
            for number in 1..=pool.tasks {
                let task = supervisor::Task {
                    name: format!("{}-{number}", pool.key),
                    pool: *pool,
                    prefetch: if pool.key.is_write() { WRITE_PREFETCH } else { READ_PREFETCH },
                    transport: transport.clone(),
                    factory: Arc::clone(factory),
                    stop: stop.clone(),
                    census: Arc::clone(&census),
                };
                census.wanted.fetch_add(1, Ordering::Relaxed);
                tasks.spawn(supervisor::supervise(task, tasks.clone()));
            }
        }
        tasks.close();
        Self { tasks, stop, census }
    }

    /// Tasks that work now, and tasks that there should be.
    pub fn strength(&self) -> (usize, usize) {
        (self.census.running.load(Ordering::Relaxed), self.census.wanted.load(Ordering::Relaxed))
    }

    /// How many tasks were replaced after a panic.
    pub fn replaced(&self) -> usize {
        self.census.replaced.load(Ordering::Relaxed)
    }

    /// Takes no more messages, finishes those that were begun, and returns. False if `grace` was too short.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.stop.cancel();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

impl Census {
    /// Counts a task for as long as the guard lives, even if it ends by unwinding.
    pub(crate) fn enter(self: &Arc<Self>) -> Present {
        self.running.fetch_add(1, Ordering::Relaxed);
        Present(Arc::clone(self))
    }
}

pub(crate) struct Present(Arc<Census>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
