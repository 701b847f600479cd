//! A panic on a message is logged, and the task goes on after a pause; a task that panics outside a message is replaced,
//! with growing pauses. The pool never shrinks.
//!
//! The consumer outlives the task: only the message that it panicked on goes back to the queue. Were the channel
//! closed instead, its innocent neighbours would be counted as failed deliveries too.
//!
//! Not here: the consumer of a queue (source.rs), the work on a message (worker.rs, scribe.rs).

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_channel::Receiver;
use beds_core::{Complaints, Gatekeeper, ReportStream};
use beds_transport::topology::Queue;
use beds_transport::{Delivery, Lease, Notices, Reports, Subscription, Transport};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::heads::Heads;
use super::report::Reporter;
use super::scribe::Scribe;
use super::worker::Worker;
use super::{Census, Work};
use crate::Factory;
use crate::metrics::Meters;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Everything that a task is made of.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) work: Work,
    pub(super) transport: Transport,
    pub(super) reports: Reports,
    pub(super) factory: Arc<Factory>,
    pub(super) stop: CancellationToken,
    pub(super) census: Arc<Census>,
    pub(super) heads: Heads,
    pub(super) complaints: Arc<Complaints>,
    /// The name of the node, under which it writes into the audit chain.
    pub(super) lease: Lease,
    pub(super) notices: Notices,
    pub(super) gate: Arc<dyn Gatekeeper>,
}

/// Keeps one place in the pool filled until the pool stops.
pub(super) async fn keep<R: Future<Output = ()> + Send + 'static>(
    name: String,
    stop: CancellationToken,
    census: Arc<Census>,
    tasks: TaskTracker,
    run: impl Fn() -> R,
) {
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        // A panic outside the handling of a message would be a fault of the pool itself; it must not cost a place either.
        match tasks.spawn(run()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(task.name = name, %error, "A broker task ended; it is replaced.");
                census.replaced.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Works until the pool stops.
pub(super) async fn run(task: Task) {
    let meters = Meters::of(task.work.queue());
    let _present = (task.census.enter(), meters.present());
    let recording = TaskTracker::new();
    while let Some(mut feed) = begin(&task).await {
        work(&task, &meters, &recording, &mut feed).await;
        if task.stop.is_cancelled() {
            // Finished messages are acknowledged when their records are confirmed; the pools' grace bounds the wait.
            recording.close();
            recording.wait().await;
        }
        feed.end().await;
    }
}

/// The place where a task's messages come from.
enum Feed<'t> {
    Shared(&'t Receiver<Arc<Delivery>>),
    Own(Box<Subscription>),
}

impl Feed<'_> {
    /// The next message; none where the pool stops, or the node has lost the name under which it stores reports.
    async fn next(&mut self, task: &Task) -> Option<Arc<Delivery>> {
        match self {
            Feed::Shared(messages) => tokio::select! {
                biased;
                () = task.stop.cancelled() => None,
                delivery = messages.recv() => delivery.ok(),
            },
            Feed::Own(subscription) => tokio::select! {
                biased;
                () = task.stop.cancelled() => None,
                () = task.lease.lost() => None,
                delivery = subscription.next() => Some(Arc::new(delivery)),
            },
        }
    }

    async fn end(self) {
        if let Feed::Own(mut subscription) = self {
            for delivery in subscription.cancel().await {
                delivery.requeue();
            }
        }
    }
}

/// A feed; none where the pool stops. Only the node that has its name stores the reports of nodes.
async fn begin(task: &Task) -> Option<Feed<'_>> {
    let stream = match &task.work {
        Work::Events { messages, .. } => {
            let is_over = task.stop.is_cancelled() || messages.is_closed();
            return (!is_over).then_some(Feed::Shared(messages));
        }
        Work::Reports(stream) => stream,
    };
    tokio::select! {
        // A pool that stops must not forget its heads: they are signed once more behind its end.
        biased;
        () = task.stop.cancelled() => return None,
        () = task.lease.held() => {}
    }
    // Another node of this name may have written into the chain meanwhile.
    task.heads.forget(&super::chain(task.reports.node(), &task.name));
    let subscribe =
        || Feed::Own(Box::new(task.transport.subscribe(Queue::Reports(*stream), &task.name, 1)));
    (!task.stop.is_cancelled()).then(subscribe)
}

/// Works until the pool stops, or the name of the node is lost.
async fn work(task: &Task, meters: &Meters, recording: &TaskTracker, feed: &mut Feed<'_>) {
    let chain = super::chain(task.reports.node(), &task.name);
    let handler = Handler::new(task, meters, recording, &chain);
    let mut pause = FIRST_PAUSE;
    while let Some(delivery) = feed.next(task).await {
        let _busy = meters.busy();
        match AssertUnwindSafe(handler.handle(&delivery)).catch_unwind().await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(panic) => {
                let text = message_of(panic.as_ref());
                drop(panic);
                let ending = async {
                    report(task, &delivery, &text);
                    handler.after_panic(&delivery, &text).await;
                };
                // Left unsettled, it would keep its place among the messages at hand until the channel closes.
                if AssertUnwindSafe(ending).catch_unwind().await.is_err() {
                    delivery.requeue();
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The worker of a task, by the kind of its messages.
enum Handler<'t> {
    Events(Worker<'t>),
    Reports(Scribe<'t>, ReportStream),
}

impl<'t> Handler<'t> {
    fn new(task: &'t Task, meters: &'t Meters, recording: &'t TaskTracker, chain: &'t str) -> Self {
        match &task.work {
            Work::Events { pool, .. } => Handler::Events(Worker {
                pool,
                publisher: task.transport.publisher(),
                factory: &task.factory,
                reporter: Reporter { reports: &task.reports, worker: &task.name, meters },
                recording,
                complaints: &task.complaints,
                stop: &task.stop,
                notices: &task.notices,
                gate: &*task.gate,
            }),
            Work::Reports(stream) => {
                let scribe = Scribe {
                    chain,
                    publisher: task.transport.publisher(),
                    factory: &task.factory,
                    stop: &task.stop,
                    heads: &task.heads,
                    lease: &task.lease,
                    meters,
                };
                Handler::Reports(scribe, *stream)
            }
        }
    }

    async fn handle(&self, delivery: &Arc<Delivery>) {
        match self {
            Handler::Events(worker) => worker.handle(delivery).await,
            Handler::Reports(scribe, stream) => scribe.handle(*stream, delivery).await,
        }
    }

    async fn after_panic(&self, delivery: &Arc<Delivery>, panic: &str) {
        match self {
            Handler::Events(worker) => worker.after_panic(delivery, panic).await,
            // RabbitMQ counts it: a batch that panics each
            // time becomes a dead letter at its limit.
            Handler::Reports(..) => delivery.requeue(),
        }
    }
}

fn report(task: &Task, delivery: &Delivery, panic: &str) {
    Meters::of(task.work.queue()).restarted();
    task.census.replaced.fetch_add(1, Ordering::Relaxed);
    let template = beds_core::Event::from_slice(delivery.body())
        .map(|event| event.template)
        .unwrap_or_default();
    tracing::error!(
        task.name = task.name,
        event.id = delivery.message_id(),
        template,
        deliveries = delivery.deliveries() + 1,
        // A text may quote a value.
        panic = panic.split(['`', '"', '\'']).next(),
        "A broker task panicked; it is replaced.",
    );
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
