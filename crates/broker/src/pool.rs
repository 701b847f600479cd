//! [`Pools`]: how many broker tasks work on which queue, and how they end. Not here: the work on a message (pool/worker.rs);
//! a task that panics (pool/supervisor.rs).

mod heads;
mod report;
mod scribe;
mod supervisor;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use beds_core::{Complaints, ReportStream, RoutingKey};
use beds_trail::audit::Head;
use beds_transport::{Lease, Notices, Reports, Transport};
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
    /// A larger message is not read.
    pub max_event_bytes: usize,
}

fn chain(node: &str, task: &str) -> String {
    format!("{node}.{task}")
}

fn task_name(queue: &str, number: u16) -> String {
    format!("{queue}-{number}")
}

/// The kind of message that a task takes from its queue.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Requests.
    Events(PoolSpec),
    /// Batches of nodes' reports.
    Records(ReportStream),
}

impl Work {
    fn queue(self) -> &'static str {
        match self {
            Work::Events(pool) => beds_transport::topology::queue_of(pool.key),
            Work::Records(stream) => stream.as_str(),
        }
    }

    fn events(self) -> Option<PoolSpec> {
        match self {
            Work::Events(pool) => Some(pool),
            Work::Records(_) => None,
        }
    }
}

/// All pools of a node.
pub struct Pools {
    tasks: TaskTracker,
    stop: CancellationToken,
    census: Arc<Census>,
    heads: heads::Heads,
}

/// How many tasks there should be and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Census {
    wanted: AtomicUsize,
    running: AtomicUsize,
    pub(crate) replaced: AtomicUsize,
}

impl Pools {
    /// Starts the tasks: those that work on events, and those that store nodes' reports (stream and number of tasks).
    pub fn spawn(
        transport: &Transport,
        reports: &Reports,
        factory: &Arc<Factory>,
        pools: &[PoolSpec],
        streams: &[(ReportStream, u16)],
        lease: &Lease,
        notices: &Notices,
    ) -> Self {
        let (tasks, stop, census) = (TaskTracker::new(), CancellationToken::new(), Arc::new(Census::default()));
        let heads = heads::Heads::default();
        let complaints = Arc::new(Complaints::default());
        let events = pools.iter().map(|pool| {
            let prefetch = if pool.key.is_write() { WRITE_PREFETCH } else { READ_PREFETCH };
            (pool.key.as_str(), pool.tasks, prefetch, Work::Events(*pool))
        });
        let records = streams.iter().map(|(stream, tasks)| (stream.as_str(), *tasks, 1, Work::Records(*stream)));
        for (queue, count, prefetch, work) in events.chain(records) {
            for number in 1..=count {
                let task = supervisor::Task {
                    name: task_name(queue, number),
                    work,
                    prefetch,
                    transport: transport.clone(),
                    reports: reports.clone(),
                    factory: Arc::clone(factory),
                    stop: stop.clone(),
                    census: Arc::clone(&census),
                    heads: heads.clone(),
                    complaints: Arc::clone(&complaints),
                    lease: lease.clone(),
                    notices: notices.clone(),
                };
                census.wanted.fetch_add(1, Ordering::Relaxed);
                tasks.spawn(supervisor::supervise(task, tasks.clone()));
            }
        }
        tasks.close();
        Self { tasks, stop, census, heads }
    }

    /// Tasks that work now, and tasks that there should be.
    pub fn strength(&self) -> (usize, usize) {
        (self.census.running.load(Ordering::Relaxed), self.census.wanted.load(Ordering::Relaxed))
    }

    /// The ends of the audit chains that these tasks have written to.
    pub fn audit_heads(&self) -> Vec<Head> {
        self.heads.own()
    }

    /// The audit chains of this node into which another writer wrote: they are not signed any more.
    pub fn unsigned_chains(&self) -> Vec<String> {
        self.heads.foreign()
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
