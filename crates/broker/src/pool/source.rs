//! [`Source`]: the one consumer of a queue on this node. It hands each message to whichever task is free: a slow one holds up
//! no other while a task has nothing to do.
//!
//! Not here: the work on a message (worker.rs), how a consumer comes back (`transport::Subscription`).

use async_channel::{Receiver, Sender};
use beds_transport::{Delivery, Transport};
use tokio_util::sync::CancellationToken;

/// Everything that a consumer is made of.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) transport: Transport,
    pub(super) queue: &'static str,
    pub(super) prefetch: u16,
    pub(super) stop: CancellationToken,
    /// To the tasks of the pool.
    pub(super) messages: Sender<Delivery>,
    /// The other end, for a message that no task has taken when the pool stops.
    pub(super) untaken: Receiver<Delivery>,
}

/// The way from a source to its tasks. It has room for one message: the others wait where the prefetch bounds them.
pub(super) fn hand_out() -> (Sender<Delivery>, Receiver<Delivery>) {
    async_channel::bounded(1)
}

impl Source {
    /// Takes messages until the pool stops. The ones that no task has begun then go back.
    pub(super) async fn run(self) {
        let mut subscription = self.transport.subscribe(self.queue, self.queue, self.prefetch);
        loop {
            let handed = async {
                let delivery = subscription.next().await;
                self.messages.send(delivery).await
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                handed = handed => if handed.is_err() { break },
            }
        }
        subscription.cancel().await;
        while let Ok(delivery) = self.untaken.try_recv() {
            delivery.requeue();
        }
    }
}
