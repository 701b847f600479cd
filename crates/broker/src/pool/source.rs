//! [`Source`]: the one consumer of a queue on this node. It hands each message to whichever task is free: a slow one holds up
//! no other while a task has nothing to do. While the node does not reach the database, there is no consumer: another node may
//! reach it, and messages that wait for no answer are safe in their queue.
//!
//! Not here: the work on a message (worker.rs), how a consumer comes back (`transport::Subscription`).

use std::sync::Arc;

use async_channel::{Receiver, Sender};
use beds_transport::topology::Queue;
use beds_transport::{Delivery, Subscription, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::PoolSpec;

/// Messages at hand for each task of a queue's pool, so that none waits for RabbitMQ between two. A task still works on one
/// at a time. docs/decisions/0028 has the figures.
const READ_PREFETCH: u16 = 4;
const WRITE_PREFETCH: u16 = 2;

/// Everything that a consumer is made of.
#[derive(Clone)]
pub(super) struct Source {
    transport: Transport,
    queue: Queue,
    prefetch: u16,
    is_reached: watch::Receiver<bool>,
    stop: CancellationToken,
    /// To the tasks of the pool.
    messages: Sender<Arc<Delivery>>,
    /// The other end, for a message that no task has taken when the pool stops.
    untaken: Receiver<Arc<Delivery>>,
}

impl Source {
    /// The source of a pool, and the way from it to its tasks. That has room for one message: the others wait where the prefetch
    /// bounds them.
    pub(super) fn of(
        transport: &Transport,
        pool: &PoolSpec,
        stop: &CancellationToken,
    ) -> (Self, Receiver<Arc<Delivery>>) {
        let (messages, taken) = async_channel::bounded(1);
        let each = if pool.key.is_write() { WRITE_PREFETCH } else { READ_PREFETCH };
        let source = Self {
            transport: transport.clone(),
            queue: Queue::Events(pool.key.clone()),
            prefetch: pool.tasks.saturating_mul(each),
            is_reached: pool.is_reached.clone(),
            stop: stop.clone(),
            messages,
            untaken: taken.clone(),
        };
        (source, taken)
    }

    /// Takes messages until the pool stops. The ones that no task has begun then go back.
    pub(super) async fn run(mut self) {
        while self.is_open().await {
            let mut subscription =
                self.transport.subscribe(self.queue.clone(), self.queue.name(), self.prefetch);
            let mut at_hand = Vec::from_iter(self.take(&mut subscription).await);
            at_hand.extend(subscription.cancel().await.into_iter().map(Arc::new));
            drop(subscription);
            for delivery in at_hand {
                self.hand_over(delivery).await;
            }
            self.sweep().await;
        }
        // A message that is only dropped would stay with this node until its channel closes.
        while let Ok(delivery) = self.untaken.try_recv() {
            delivery.requeue();
        }
    }

    /// Waits until the database is reached. False where the pool stops.
    async fn is_open(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            is_open = async { self.is_reached.wait_for(|is_reached| *is_reached).await.is_ok() } => is_open,
        }
    }

    /// Hands out messages until the pool stops, or the database is not reached any more. Answers a message for which no task was free
    /// by then.
    async fn take(&mut self, subscription: &mut Subscription) -> Option<Arc<Delivery>> {
        loop {
            // Looks at the stop and the outage first, so that no further message is taken.
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = away(&mut self.is_reached) => return None,
                delivery = subscription.next() => Arc::new(delivery),
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Some(delivery),
                () = away(&mut self.is_reached) => return Some(delivery),
                sent = self.messages.send(Arc::clone(&delivery)) => if sent.is_err() { return Some(delivery) },
            }
        }
    }

    /// Hands out the requests that came before the gateways had noticed: their callers are answered that the database is away.
    async fn sweep(&self) {
        let mut reached = self.is_reached.clone();
        let mut sweep = self.transport.sweep(self.queue.clone());
        loop {
            let back = async { drop(reached.wait_for(|is_reached| *is_reached).await) };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = back => return,
                delivery = sweep.next() => match delivery {
                    Some(delivery) => self.hand_over(Arc::new(delivery)).await,
                    None => return,
                },
            }
        }
    }

    /// Gives a message to the next free task. Where the database is away, its requester learns that at once, and one without a
    /// requester is put aside: given back, it would be counted as a failed delivery each time.
    async fn hand_over(&self, delivery: Arc<Delivery>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => delivery.requeue(),
            sent = self.messages.send(Arc::clone(&delivery)) => if sent.is_err() { delivery.requeue() },
        }
    }
}

/// Waits until the database is not reached any more.
async fn away(is_reached: &mut watch::Receiver<bool>) {
    drop(is_reached.wait_for(|is_reached| !*is_reached).await);
}
