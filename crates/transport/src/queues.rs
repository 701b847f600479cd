//! [`Queues`]: the regular look at the queues. It counts their messages and their consumers, so that a request that no node
//! would take is refused at once, and it declares the queues of the databases to which this node publishes.
//!
//! Not here: arguments and bindings (topology.rs), the consumers of this node (consumers.rs).

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use beds_core::config::TICKETS_DATABASE;
use beds_core::{RoutingKey, Template, Templates};
use tokio::sync::watch;

use crate::consumers::Consumers;
use crate::link::Link;
use crate::topology::Topology;
use look::Look;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How long RabbitMQ may take for all answers of a look, and how much longer for each queue.
const PATIENCE: Duration = Duration::from_secs(2);
const FOR_EACH: Duration = Duration::from_millis(200);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queues {
    /// None until the first look.
    seen: Arc<watch::Sender<Option<Seen>>>,
    consumers: Consumers,
    /// Keys whose messages came back: their bindings may be gone.
    unbound: Arc<Mutex<BTreeSet<RoutingKey>>>,
}

/// The counts of one queue.
#[derive(Debug, Clone, Copy, Default)]
struct Sight {
    messages: u32,
    /// Consumers of other nodes. Those of this node are known without a look.
    others: u32,
}

/// The result of a look.
#[derive(Debug, Default)]
struct Seen {
    /// By the name of the queue. Empty while RabbitMQ cannot be asked.
    counts: BTreeMap<Arc<str>, Sight>,
    /// Queues that could not be had, with the reason.
    refused: BTreeMap<RoutingKey, String>,
    /// The keys of the databases that the templates name.
    keys: BTreeSet<RoutingKey>,
}

impl Queues {
    pub(crate) fn new(consumers: &Consumers) -> Self {
        let (seen, consumers) = (Arc::new(watch::Sender::new(None)), consumers.clone());
        Self { seen, consumers, unbound: Arc::default() }
    }

    /// A message with this key came back. The next look declares its queue and binding again.
    pub(crate) fn came_back(&self, key: &RoutingKey) {
        self.unbound.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }

    /// False where no node takes messages from the queue of the key. True where that is not known.
    pub(crate) fn has_consumer(&self, key: &RoutingKey) -> bool {
        let seen = self.seen.borrow();
        let count = seen.as_ref().and_then(|seen| seen.counts.get(key.as_str()));
        count.is_none_or(|count| count.others > 0) || self.consumers.serve(key.as_str())
    }

    /// The keys to which this node publishes: first those whose queues have a consumer, then the others.
    pub(crate) fn served(&self) -> (Vec<RoutingKey>, Vec<RoutingKey>) {
        let all = self.seen.borrow().as_ref().map(|seen| (seen.keys.clone(), seen.refused.clone()));
        let (keys, refused) = all.unwrap_or_default();
        keys.into_iter().partition(|key| !refused.contains_key(key) && self.has_consumer(key))
    }

    /// The first queue that RabbitMQ does not let this node have, and why.
    pub(crate) fn refused(&self) -> Option<String> {
        let seen = self.seen.borrow();
        seen.as_ref()?.refused.iter().next().map(|(key, why)| format!("{key}: {why}"))
    }

    /// How many messages wait in each queue.
    pub(crate) fn lengths(&self) -> Vec<(Arc<str>, u32)> {
        let seen = self.seen.borrow();
        let counts = seen.iter().flat_map(|seen| &seen.counts);
        counts.map(|(queue, count)| (queue.clone(), count.messages)).collect()
    }

    /// Waits for the first look.
    pub(crate) async fn ready(&self) {
        // It cannot fail: this value holds the sender.
        drop(self.seen.subscribe().wait_for(Option::is_some).await);
    }

    /// Looks for as long as the node runs.
    pub(crate) async fn serve(
        self,
        link: Link,
        topology: Arc<Topology>,
        templates: Arc<ArcSwap<Templates>>,
    ) {
        let mut changes = self.consumers.changes();
        loop {
            let live = link.live().await;
            let mut look = Look::new(&live.connection, &topology);
            while live.connection.status().connected() {
                // Marks changes as seen before it looks: one
                // that comes meanwhile begins the next look.
                let own: BTreeMap<_, _> = changes
                    .borrow_and_update()
                    .iter()
                    .map(|(queue, of)| (Arc::clone(queue), of.counted))
                    .collect();
                let keys = keys(&templates.load());
                look.declare_again(&std::mem::take(
                    &mut *self.unbound.lock().unwrap_or_else(PoisonError::into_inner),
                ));
                let patience =
                    PATIENCE + FOR_EACH * u32::try_from(keys.len() + own.len()).unwrap_or(u32::MAX);
                match tokio::time::timeout(patience, look.all(keys, own)).await {
                    Ok(Ok(seen)) => drop(self.seen.send_replace(Some(seen))),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "The queues could not be looked at.");
                        break;
                    }
                    Err(_) => {
                        tracing::debug!("RabbitMQ did not tell its queues in time.");
                        look.give_up();
                        self.forget();
                    }
                }
                // Sooner where consumers of this node have come or gone.
                drop(tokio::time::timeout(PERIOD, changes.changed()).await);
            }
            self.forget();
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Old counts must refuse no request.
    fn forget(&self) {
        self.seen.send_if_modified(|seen| {
            seen.as_mut().is_some_and(|seen| {
                seen.counts.clear();
                true
            })
        });
    }
}

/// The keys of the databases of templates.
fn keys(templates: &Templates) -> BTreeSet<RoutingKey> {
    let of = |template: &Template| {
        let key = |is_write| RoutingKey::new(template.store, is_write, &template.database);
        let is_of_tickets = template.is_of_nodes && template.database == TICKETS_DATABASE;
        // Tickets are changed through their own queue.
        [key(false), if is_of_tickets { RoutingKey::tickets() } else { key(true) }]
    };
    templates.iter().flat_map(|template| of(template)).collect()
}
