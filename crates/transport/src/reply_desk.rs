//! [`ReplyDesk`]: the requesters that wait, and their answers. One exclusive reply queue for each connection;
//! docs/decisions/0004 says why not direct reply-to. Entries remove themselves when their waiter is dropped, so nothing
//! grows.
//!
//! Not here: sending a request (outbox.rs, publish.rs).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use beds_core::{Complaints, Event};
use futures_util::StreamExt;
use lapin::Consumer;
use lapin::message::Delivery as LapinDelivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::sync::{oneshot, watch};

use crate::link::Link;
use crate::marks::Marks;
use crate::requester_lineage::LateReplies;
use crate::{Guards, Reports, TransportError, TransportResult, topology};

type Waiting = HashMap<String, oneshot::Sender<TransportResult<Vec<u8>>>>;

#[derive(Clone)]
pub(crate) struct ReplyDesk(Arc<Desk>);

struct Desk {
    waiting: Mutex<Waiting>,
    late: Mutex<LateReplies>,
    reports: Reports,
    queue: watch::Receiver<Option<Arc<str>>>,
}

impl ReplyDesk {
    /// The desk and the task that serves it.
    pub(crate) fn new(
        link: Link,
        marks: Marks,
        node: &str,
        reports: Reports,
        guards: &Guards,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, queue) = watch::channel(None);
        let desk = Self(Arc::new(Desk {
            waiting: Mutex::default(),
            late: Mutex::default(),
            reports,
            queue,
        }));
        let (node, complaints) = (node.to_owned(), Complaints::default());
        let clerk = Arc::new(Clerk { desk: desk.clone(), link, marks, node, sender, complaints });
        (desk, guards.clone().forever("the reply desk", move || Arc::clone(&clerk).serve()))
    }

    /// Where answers can be sent now; none while there is no connection.
    pub(crate) fn queue(&self) -> Option<Arc<str>> {
        self.0.queue.borrow().clone()
    }

    /// Waits until answers can be received.
    pub(crate) async fn ready(&self) {
        let mut queue = self.0.queue.clone();
        if queue.wait_for(Option::is_some).await.is_err() {
            // The clerk has ended with the node: no answer can come any more.
            std::future::pending::<()>().await;
        }
    }

    /// Begins to wait for the answer to `id`. Register before the request is sent.
    pub(crate) fn expect(&self, id: &str) -> Expected {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id.to_owned(), sender);
        Expected { id: id.to_owned(), receiver, desk: self.clone() }
    }

    /// No answer will come: the request did not get through.
    pub(crate) fn fail(&self, id: &str, error: TransportError) {
        self.settle(id, Err(error));
    }

    fn settle(&self, id: &str, outcome: TransportResult<Vec<u8>>) {
        let (waiter, is_reply) = (self.lock().remove(id), outcome.is_ok());
        let taken = waiter.is_some_and(|waiter| waiter.send(outcome).is_ok());
        if !taken {
            tracing::debug!(event.id = id, "An outcome came after its requester had gone.");
            let late = self.0.late.lock().unwrap_or_else(PoisonError::into_inner).take(id);
            // A request that did not get through after all has no reply that could be late.
            if let (Some(late), true) = (late, is_reply) {
                late.report(&self.0.reports, id);
            }
        }
    }

    /// The requester of this event stopped waiting: its answer may still come.
    pub(crate) fn note_late(&self, event: &Event) {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner).expect(event);
    }

    /// The reply queue is gone and its answers with it: no requester may go on waiting.
    fn fail_all(&self) {
        // Dropping the senders wakes the waiters; they must not be dropped under the lock.
        let waiting = std::mem::take(&mut *self.lock());
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the desk. Dropping it gives the place up.
pub(crate) struct Expected {
    id: String,
    receiver: oneshot::Receiver<TransportResult<Vec<u8>>>,
    desk: ReplyDesk,
}

impl Expected {
    /// The answer, or why it cannot come any more.
    pub(crate) async fn answer(&mut self) -> TransportResult<Vec<u8>> {
        // The desk drops the sender where the reply queue is gone.
        (&mut self.receiver).await.unwrap_or(Err(TransportError::ReplyLost))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.desk.lock().remove(&self.id);
    }
}

struct Clerk {
    desk: ReplyDesk,
    link: Link,
    marks: Marks,
    node: String,
    sender: watch::Sender<Option<Arc<str>>>,
    complaints: Complaints,
}

impl Clerk {
    async fn serve(self: Arc<Self>) {
        // A clerk that begins anew after a panic has lost its queue, and the answers with it.
        self.sender.send_replace(None);
        self.desk.fail_all();
        loop {
            match self.open().await {
                Ok((queue, mut replies)) => {
                    self.sender.send_replace(Some(queue));
                    while let Some(Ok(delivery)) = replies.next().await {
                        self.take(delivery);
                    }
                    // The name goes before the waiters: no new
                    // request may wait at a queue that is gone.
                    self.sender.send_replace(None);
                    self.desk.fail_all();
                }
                Err(error) => {
                    tracing::debug!(%error, "Cannot receive replies yet.");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Hands an answer to its requester. One that no node has sealed changes nothing: the true one may still come.
    fn take(&self, delivery: LapinDelivery) {
        let LapinDelivery { routing_key, properties, data, .. } = delivery;
        let is_believed = !self.marks.seal.needs_proof()
            || self.marks.is_sealed("", routing_key.as_str(), &properties, &data);
        match properties.correlation_id() {
            Some(id) if is_believed => self.desk.settle(id.as_str(), Ok(data)),
            Some(id) => {
                let login = properties.user_id().as_ref().map_or("", |login| login.as_str());
                if let Some(before) = self.complaints.say("an answer without a seal") {
                    tracing::warn!(
                        event.id = id.as_str(),
                        login,
                        before,
                        "An answer without the seal of a node was not believed."
                    );
                }
            }
            None => {}
        }
    }

    async fn open(&self) -> TransportResult<(Arc<str>, Consumer)> {
        let live = self.link.live().await;
        let channel = live.connection.create_channel().await?;
        let queue = topology::reply_queue(&self.node);
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        channel.queue_declare(queue.clone(), options, FieldTable::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
        let consumer = channel
            .basic_consume(queue.clone(), queue.clone(), options, FieldTable::default())
            .await?;
        Ok((Arc::from(queue.as_str()), consumer))
    }
}
