//! [`Pools`]: how many broker tasks work on which queue, and how they end. Not here: the work on a message (pool/worker.rs);
//! a task that panics (pool/supervisor.rs).

mod heads;
mod report;
mod scribe;
mod source;
mod supervisor;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::Receiver;
use beds_core::{Complaints, Gatekeeper, ReportStream, RoutingKey};
use beds_trail::audit::Head;
use beds_transport::{Delivery, Lease, Notices, Reports, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Factory;
use crate::calgon::{Calgon, Keeper, Runner, Scheduler, Tools};
use crate::relay::{Relay, RelaySpec};
use source::Source;

/// One pool: a queue and how many tasks work on it.
#[derive(Debug, Clone)]
pub struct PoolSpec {
    pub key: RoutingKey,
    pub tasks: u16,
    /// The longest that one message is worked on.
    pub handler_timeout: Duration,
    /// A larger message is not read.
    pub max_event_bytes: usize,
    /// False while the node does not reach the database: no message is taken then.
    pub is_reached: watch::Receiver<bool>,
}

fn chain(node: &str, task: &str) -> String {
    format!("{node}.{task}")
}

fn task_name(queue: &str, number: u16) -> String {
    format!("{queue}-{number}")
}

/// The kind of message that a task works on, and where it comes from.
#[derive(Debug, Clone)]
enum Work {
    /// Requests, from the node's one consumer of the queue.
    Events { pool: PoolSpec, messages: Receiver<Arc<Delivery>> },
    /// Batches of nodes' reports, from a consumer of the task's own: each task writes a chain.
    Reports(ReportStream),
}

impl Work {
    fn queue(&self) -> &str {
        match self {
            Work::Events { pool, .. } => pool.key.as_str(),
            Work::Reports(stream) => stream.as_str(),
        }
    }
}

/// The parts of a node that its tasks use.
pub struct Parts {
    pub factory: Arc<Factory>,
    /// The name of the node, under which it stores reports.
    pub lease: Lease,
    pub notices: Notices,
    /// The credentials that publishers may show.
    pub gate: Arc<dyn Gatekeeper>,
    /// The work of tickets, where this node does it.
    pub calgon: Option<Calgon>,
    /// The databases whose changes this node may publish.
    pub relays: Vec<RelaySpec>,
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
        parts: &Parts,
        pools: Vec<PoolSpec>,
        streams: &[(ReportStream, u16)],
    ) -> Self {
        let all = Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            census: Arc::new(Census::default()),
            heads: heads::Heads::default(),
        };
        // One table serves all tasks: a cause is told once, and not once by each task.
        let complaints = Arc::new(Complaints::default());
        let mut works: Vec<(Work, u16)> = Vec::new();
        for pool in pools {
            let (source, messages) = Source::of(transport, &pool, &all.stop);
            all.keep(format!("the consumer of {}", pool.key), move || source.clone().run());
            let tasks = pool.tasks;
            works.push((Work::Events { pool, messages }, tasks));
        }
        works.extend(streams.iter().map(|(stream, count)| (Work::Reports(*stream), *count)));
        for (work, count) in works {
            for number in 1..=count {
                let task = supervisor::Task {
                    name: task_name(work.queue(), number),
                    work: work.clone(),
                    transport: transport.clone(),
                    reports: reports.clone(),
                    factory: Arc::clone(&parts.factory),
                    stop: all.stop.clone(),
                    census: Arc::clone(&all.census),
                    heads: all.heads.clone(),
                    complaints: Arc::clone(&complaints),
                    lease: parts.lease.clone(),
                    notices: parts.notices.clone(),
                    gate: Arc::clone(&parts.gate),
                };
                all.census.wanted.fetch_add(1, Ordering::Relaxed);
                all.keep(task.name.clone(), move || supervisor::run(task.clone()));
            }
        }
        all.work_on_tickets(transport, reports, parts);
        for spec in parts.relays.iter().cloned() {
            let (transport, stop) = (transport.clone(), all.stop.clone());
            let name = format!("the changes of {}", spec.database);
            let relay = Relay { spec, transport, stop, complaints: Arc::clone(&complaints) };
            all.keep(name, move || relay.clone().serve());
        }
        // A closed tracker still takes tasks; only a closed one lets drain see their end.
        all.tasks.close();
        all
    }

    /// Starts the tasks that do the work of tickets, where this node does it.
    fn work_on_tickets(&self, transport: &Transport, reports: &Reports, parts: &Parts) {
        let Some(calgon) = &parts.calgon else { return };
        let tools = |name: String| Tools {
            name,
            calgon: calgon.clone(),
            factory: Arc::clone(&parts.factory),
            publisher: transport.publisher().clone(),
            reports: reports.clone(),
            notices: parts.notices.clone(),
            stop: self.stop.clone(),
        };
        let keeper = Keeper(tools("keeper of tickets".to_owned()));
        self.keep(keeper.0.name.clone(), move || keeper.clone().serve());
        if !calgon.schedules.is_empty() {
            let scheduler = Scheduler {
                tools: tools("schedules".to_owned()),
                gate: Arc::clone(&parts.gate),
                complaints: Arc::default(),
            };
            self.keep(scheduler.tools.name.clone(), move || scheduler.clone().serve());
        }
        for number in 1..=calgon.config.instances.work.get() {
            let tools = tools(task_name("ticket", number));
            let (name, census) = (tools.name.clone(), Arc::clone(&self.census));
            census.wanted.fetch_add(1, Ordering::Relaxed);
            self.keep(name, move || {
                let (runner, present) = (Runner(tools.clone()), census.enter());
                async move {
                    let _present = present;
                    runner.serve().await;
                }
            });
        }
    }

    /// Keeps a piece of work going until the pools stop.
    fn keep<R: Future<Output = ()> + Send + 'static>(
        &self,
        name: String,
        run: impl Fn() -> R + Send + 'static,
    ) {
        let (stop, census) = (self.stop.clone(), Arc::clone(&self.census));
        self.tasks.spawn(supervisor::keep(name, stop, census, self.tasks.clone(), run));
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
