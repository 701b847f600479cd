//! [`Consumers`]: which subscriptions there should be, and which of them RabbitMQ hands messages to.
//!
//! Not here: the repair of a subscription (consume.rs).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfQueue {
    pub wanted: usize,
    pub open: usize,
    /// Consumers of this node that RabbitMQ may count: also one that was cancelled, until its last message is settled.
    pub(crate) counted: usize,
    /// Why the last attempt failed; empty where none did since it was open.
    pub error: String,
}

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumers(Arc<watch::Sender<BTreeMap<Arc<str>, OfQueue>>>);

impl Consumers {
    /// The state of each queue that is subscribed to.
    pub(crate) fn all(&self) -> BTreeMap<Arc<str>, OfQueue> {
        self.0.borrow().clone()
    }

    pub(crate) fn enter(&self, queue: &str) -> Wanted {
        let wanted = Wanted {
            consumers: self.clone(),
            queue: queue.into(),
            is_open: false,
            has_left: false,
        };
        wanted.change(|of| of.wanted += 1);
        wanted
    }

    /// True where this node takes messages from the queue, or is about to, and does not leave it.
    pub(crate) fn serve(&self, queue: &str) -> bool {
        self.0
            .borrow()
            .get(queue)
            .is_some_and(|of| of.wanted > 0 && (of.open > 0 || of.error.is_empty()))
    }

    /// One more that RabbitMQ may count, for as long as the value lives.
    pub(crate) fn count(&self, queue: &str) -> Counted {
        let counted = Counted { consumers: self.clone(), queue: queue.into() };
        self.change(&counted.queue, |of| of.counted += 1);
        counted
    }

    /// How many of this node's consumers RabbitMQ may count at a queue.
    pub(crate) fn counted(&self, queue: &str) -> usize {
        self.0.borrow().get(queue).map_or(0, |of| of.counted)
    }

    /// Waits until this node takes messages from the queue.
    pub(crate) async fn opened(&self, queue: &str) {
        // It cannot fail: this value holds the sender.
        drop(self.0.subscribe().wait_for(|all| all.get(queue).is_some_and(|of| of.open > 0)).await);
    }

    /// Tells of changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<Arc<str>, OfQueue>> {
        self.0.subscribe()
    }

    /// True where it makes a difference.
    fn change(&self, queue: &Arc<str>, change: impl FnOnce(&mut OfQueue)) -> bool {
        // Tells differences only: each one begins a look at the queues at once.
        self.0.send_if_modified(|all| {
            let of = all.entry(Arc::clone(queue)).or_default();
            let before = of.clone();
            change(of);
            *of != before
        })
    }
}

/// See [`Consumers::count`].
pub(crate) struct Counted {
    consumers: Consumers,
    queue: Arc<str>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.consumers.change(&self.queue, |of| of.counted -= 1);
    }
}

/// One subscription, for as long as the value lives.
pub(crate) struct Wanted {
    consumers: Consumers,
    queue: Arc<str>,
    is_open: bool,
    has_left: bool,
}

impl Wanted {
    pub(crate) fn opened(&mut self) {
        if !std::mem::replace(&mut self.is_open, true) {
            self.change(|of| of.open += 1);
        }
        self.change(|of| of.error.clear());
    }

    pub(crate) fn closed(&mut self) {
        if std::mem::replace(&mut self.is_open, false) {
            self.change(|of| of.open -= 1);
        }
    }

    /// There is to be no consumer any more. It may still be open.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.has_left, true) {
            self.change(|of| of.wanted -= 1);
        }
    }

    /// True where this reason is news for the queue.
    pub(crate) fn failed(&mut self, error: &str) -> bool {
        self.change(|of| error.clone_into(&mut of.error))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    fn change(&self, change: impl FnOnce(&mut OfQueue)) -> bool {
        self.consumers.change(&self.queue, change)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.leave();
        self.closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_counts_while_it_is_open_and_a_reason_is_news_once() {
        let consumers = Consumers::default();
        assert!(!consumers.serve("rel.write"));
        let mut one = consumers.enter("rel.write");
        let mut two = consumers.enter("rel.write");
        assert!(consumers.serve("rel.write"), "one is about to begin");
        one.opened();
        one.opened();
        assert!(two.failed("406") && !one.failed("406"));
        let queue = |consumers: &Consumers| consumers.all()["rel.write"].clone();
        assert_eq!(
            queue(&consumers),
            OfQueue { wanted: 2, open: 1, counted: 0, error: "406".into() }
        );
        two.opened();
        drop(one);
        assert_eq!(
            queue(&consumers),
            OfQueue { wanted: 1, open: 1, counted: 0, error: String::new() }
        );
        two.closed();
        two.failed("403");
        assert!(!consumers.serve("rel.write"));
    }
}
