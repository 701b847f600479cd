//! [`Consumers`]: which subscriptions there should be, and which of them RabbitMQ hands messages to.
//!
//! Not here: the repair of a subscription (consume.rs).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfQueue {
    pub wanted: usize,
    pub open: usize,
    /// Why the last attempt failed; empty where none did since it was open.
    pub error: String,
}

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumers(Arc<Mutex<BTreeMap<&'static str, OfQueue>>>);

impl Consumers {
    /// The state of each queue that is subscribed to.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, OfQueue> {
        self.lock().clone()
    }

    pub(crate) fn enter(&self, queue: &'static str) -> Wanted {
        self.lock().entry(queue).or_default().wanted += 1;
        Wanted { consumers: self.clone(), queue, is_open: false }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, OfQueue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscription, for as long as the value lives.
pub(crate) struct Wanted {
    consumers: Consumers,
    queue: &'static str,
    is_open: bool,
}

impl Wanted {
    pub(crate) fn opened(&mut self) {
        self.change(|queue, was_open| {
            queue.open += usize::from(!was_open);
            queue.error.clear();
            true
        });
    }

    pub(crate) fn closed(&mut self) {
        self.change(|queue, was_open| {
            queue.open -= usize::from(was_open);
            false
        });
    }

    /// True where this reason is news for the queue.
    pub(crate) fn failed(&mut self, error: &str) -> bool {
        let mut all = self.consumers.lock();
        let queue = all.entry(self.queue).or_default();
        let is_news = queue.error != error;
        error.clone_into(&mut queue.error);
        is_news
    }

    fn change(&mut self, change: impl FnOnce(&mut OfQueue, bool) -> bool) {
        let mut all = self.consumers.lock();
        self.is_open = change(all.entry(self.queue).or_default(), self.is_open);
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.closed();
        self.consumers.lock().entry(self.queue).or_default().wanted -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_counts_while_it_is_open_and_a_reason_is_news_once() {
        let consumers = Consumers::default();
        let mut one = consumers.enter("rel.write");
        let mut two = consumers.enter("rel.write");
        one.opened();
        one.opened();
        assert!(two.failed("406") && !one.failed("406"));
        let queue = |consumers: &Consumers| consumers.all()["rel.write"].clone();
        assert_eq!(queue(&consumers), OfQueue { wanted: 2, open: 1, error: "406".into() });
        two.opened();
        drop(one);
        assert_eq!(queue(&consumers), OfQueue { wanted: 1, open: 1, error: String::new() });
    }
}
