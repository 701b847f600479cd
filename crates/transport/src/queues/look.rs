//! [`Look`]: one look at all queues after the other, over one connection. A queue that cannot be had costs the channel, and no other
//! queue.
//!
//! Not here: when it looks, and the use of the result (../queues.rs).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use beds_core::RoutingKey;
use lapin::{Channel, Connection};
use tokio::time::Instant;

use super::{Seen, Sight};
use crate::topology::{self, Count, Queue, Topology};

/// Before a queue that could not be had is asked for again: RabbitMQ logs each refusal.
const REST: Duration = Duration::from_secs(5);

pub(super) struct Look<'c> {
    connection: &'c Connection,
    topology: &'c Topology,
    channel: Option<Channel>,
    declared: BTreeSet<RoutingKey>,
    /// Queues that other nodes consumed at the last look.
    consumed: BTreeSet<RoutingKey>,
    /// Queues that could not be had, with the reason and the time of the next attempt.
    refused: BTreeMap<RoutingKey, (String, Instant)>,
    /// When the common queues may be declared again.
    next_common: Instant,
}

impl<'c> Look<'c> {
    pub(super) fn new(connection: &'c Connection, topology: &'c Topology) -> Self {
        Self {
            connection,
            topology,
            channel: None,
            declared: BTreeSet::new(),
            consumed: BTreeSet::new(),
            refused: BTreeMap::new(),
            next_common: Instant::now(),
        }
    }

    /// The queues of these keys are declared at the next look.
    pub(super) fn declare_again(&mut self, keys: &BTreeSet<RoutingKey>) {
        self.declared.retain(|key| !keys.contains(key));
    }

    /// A look was cut off: its channel still waits for an answer.
    pub(super) fn give_up(&mut self) {
        self.channel = None;
    }

    /// Looks at the queues of these keys, at the common ones and at those that this node consumes.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn all(
        &mut self,
        keys: BTreeSet<RoutingKey>,
        own: BTreeMap<Arc<str>, usize>,
    ) -> lapin::Result<Seen> {
        let mut counts = BTreeMap::new();
        for key in &keys {
            let is_resting = self.refused.get(key).is_some_and(|(_, next)| *next > Instant::now());
            // Unknown where it could not be had: a message without a queue comes back.
            let count = if is_resting { None } else { self.at_key(key).await? };
            let sight = count.map(|count| self.surely(key, sight(count, own.get(key.as_str()))));
            counts.extend(sight.map(|sight| (Arc::from(key.as_str()), sight)));
        }
        let others = topology::common_queues().map(Arc::from).chain(own.keys().cloned());
        for queue in others.filter(|queue| !counts.contains_key(queue)).collect::<BTreeSet<_>>() {
            match self.count(&queue).await {
                Ok(count) => drop(counts.insert(queue, sight(count, None))),
                Err(error) => {
                    self.lost_channel(error)?;
                    // The other common ones are looked at the next time.
                    self.declare_common(&queue).await?;
                    break;
                }
            }
        }
        self.refused.retain(|key, _| keys.contains(key));
        let refused =
            self.refused.iter().map(|(key, (why, _))| (key.clone(), why.clone())).collect();
        Ok(Seen { counts, refused, keys })
    }

    /// Declares the common queues, one of which is missing.
    async fn declare_common(&mut self, missing: &str) -> lapin::Result<()> {
        if self.next_common > Instant::now() {
            return Ok(());
        }
        self.next_common = Instant::now() + REST;
        tracing::warn!(
            queue = missing,
            "A queue is missing or cannot be counted; the topology is declared again."
        );
        let topology = self.topology;
        if let Err(error) = topology.declare(self.channel().await?).await {
            self.lost_channel(error)?;
        }
        Ok(())
    }

    /// The counts of a database's queue, which is declared where it is missing.
    async fn at_key(&mut self, key: &RoutingKey) -> lapin::Result<Option<Count>> {
        if self.declared.contains(key) {
            match self.count(key.as_str()).await {
                Ok(count) => return Ok(Some(count)),
                // A queue that was deleted costs the channel, and is declared again below.
                Err(error) => drop(self.lost_channel(error)?),
            }
        }
        match self.declare(key).await {
            Ok(count) => {
                self.declared.insert(key.clone());
                self.refused.remove(key);
                Ok(Some(count))
            }
            Err(error) => {
                let why = self.lost_channel(error)?;
                self.declared.remove(key);
                self.refused.insert(key.clone(), (why, Instant::now() + REST));
                Ok(None)
            }
        }
    }

    async fn declare(&mut self, key: &RoutingKey) -> lapin::Result<Count> {
        let (topology, queue) = (self.topology, Queue::Events(key.clone()));
        let error = match topology.declare_queue(self.channel().await?, &queue).await {
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        // RabbitMQ closed the channel with its refusal, so the next question needs another one.
        self.channel = None;
        // One that is there in another form is good enough to publish to. Its consumers say more.
        match self.count(key.as_str()).await {
            Ok(count) => {
                tracing::warn!(queue = %key, %error, "A queue is not as this node would declare it; it is used as it is.");
                Ok(count)
            }
            Err(_) => Err(error),
        }
    }

    /// Believes only at the second look that the last consumer of other nodes has gone: one is replaced by another in a moment, and a
    /// quorum queue whose leader is slow or gone is said to have none.
    fn surely(&mut self, key: &RoutingKey, sight: Sight) -> Sight {
        if sight.others > 0 {
            self.consumed.insert(key.clone());
        } else if self.consumed.remove(key) {
            return Sight { others: 1, ..sight };
        }
        sight
    }

    async fn count(&mut self, queue: &str) -> lapin::Result<Count> {
        topology::count(self.channel().await?, queue).await
    }

    async fn channel(&mut self) -> lapin::Result<&Channel> {
        if self.channel.is_none() {
            self.channel = Some(self.connection.create_channel().await?);
        }
        self.channel.as_ref().ok_or_else(|| lapin::ErrorKind::InvalidChannel(0).into())
    }

    /// The reason, where only the channel was lost.
    fn lost_channel(&mut self, error: lapin::Error) -> lapin::Result<String> {
        self.channel = None;
        if self.connection.status().connected() { Ok(error.to_string()) } else { Err(error) }
    }
}

fn sight(count: Count, own: Option<&usize>) -> Sight {
    let own = own.map_or(0, |own| u32::try_from(*own).unwrap_or(u32::MAX));
    Sight { messages: count.messages, others: count.consumers.saturating_sub(own) }
}
