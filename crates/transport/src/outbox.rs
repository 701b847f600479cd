//! [`Outbox`]: the one task of a client that sees its requests through to RabbitMQ's confirm. One for all of them, because
//! requests that come together then leave together (docs/decisions/0013). Not here: the messages, and the caller who learns
//! of a failure (client.rs).

use std::future::Future;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::{Guards, TransportError, TransportResult};

/// Most requests that wait to be sent, and most that wait for their confirm. Beyond that it is refused.
pub(crate) const MOST: usize = 4096;

#[derive(Clone)]
pub(crate) struct Outbox(mpsc::Sender<BoxFuture<'static, ()>>);

impl Outbox {
    /// The outbox and the task that works on it, which runs until it is dropped. `at_once` is how many it has under way.
    pub(crate) fn new(
        at_once: usize,
        guards: &Guards,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut waiting) = mpsc::channel::<BoxFuture<'static, ()>>(MOST);
        let guards = guards.clone();
        let work = async move {
            let mut under_way = FuturesUnordered::new();
            loop {
                // Takes new requests before it looks at confirms,
                // so that those of one moment leave together.
                tokio::select! {
                    biased;
                    next = waiting.recv(), if under_way.len() < at_once => match next {
                        // One that panics takes none of the others with it.
                        Some(sending) => under_way.push(guards.run("the outbox", sending)),
                        None => return,
                    },
                    Some(_) = under_way.next() => {}
                }
            }
        };
        (Self(sender), work)
    }

    /// Sends in the background, even if the caller goes away.
    pub(crate) fn take(
        &self,
        sending: impl Future<Output = ()> + Send + 'static,
    ) -> TransportResult<()> {
        self.0.try_send(Box::pin(sending)).map_err(|_| TransportError::Blocked)
    }
}
