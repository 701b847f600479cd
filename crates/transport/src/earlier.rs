//! [`Earlier`]: the queues of the release before, which had one for each of the seed's keys and all databases. No message may go
//! there any more: the queue of the database `main` has the key now, and an old queue that is full would refuse for both.
//!
//! Not here: the queues of today (topology.rs).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beds_core::SEED_KEYS;
use lapin::options::{BasicGetOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use crate::link::Link;
use crate::topology::{self, Count, EVENTS};

/// Between two looks. A node of the release before binds its queues anew at each connection.
const PERIOD: Duration = Duration::from_secs(5);
/// How long RabbitMQ may take to delete a queue.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The queues of an earlier release that are still there. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Earlier(Arc<Mutex<BTreeMap<&'static str, Count>>>);

impl Earlier {
    /// A sentence for the operator; none where no such queue is left.
    pub fn left(&self) -> Option<String> {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, count) = left.iter().max_by_key(|(_, count)| count.messages)?;
        let (messages, consumers) = (count.messages, count.consumers);
        Some(format!(
            "{queue} is a queue of an earlier release, with {messages} messages and {consumers} consumers: let a node of that \
             release empty it"
        ))
    }

    /// Takes the keys away from those queues, again and again, and deletes the ones that are empty and unused.
    pub(crate) async fn serve(self, link: Link) {
        loop {
            let live = link.live().await;
            let mut known: BTreeMap<&'static str, Option<Count>> =
                SEED_KEYS.map(|queue| (queue, None)).into();
            while live.connection.status().connected() {
                if let Err(error) = self.look(&live.connection, &mut known).await {
                    tracing::debug!(%error, "The queues of an earlier release could not be looked at.");
                }
                tokio::time::sleep(PERIOD).await;
            }
        }
    }

    /// `known` has the counts of the look before, and only queues that may be there.
    async fn look(
        &self,
        connection: &Connection,
        known: &mut BTreeMap<&'static str, Option<Count>>,
    ) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        for queue in SEED_KEYS {
            // RabbitMQ takes this for a queue that is not there, too (tried on 3.10.8 and 4.0.5).
            channel
                .queue_unbind(queue.into(), EVENTS.into(), queue.into(), FieldTable::default())
                .await?;
        }
        channel.close(200, "unbound".into()).await?;
        for queue in known.keys().copied().collect::<Vec<_>>() {
            match at(connection, queue, known[queue]).await {
                Ok(count) => drop(known.insert(queue, Some(count))),
                // RabbitMQ logs each question for a queue that is not there: so it is asked once a connection.
                Err(error) if is_not_found(&error) => drop(known.remove(queue)),
                Err(error) => {
                    tracing::debug!(queue, %error, "A queue of an earlier release could not be counted.")
                }
            }
        }
        let left = known.iter().filter_map(|(queue, count)| Some((*queue, (*count)?))).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
        Ok(())
    }
}

/// The counts of a queue. One that is empty and unused for the second time is deleted, and is not there at the next look.
async fn at(
    connection: &Connection,
    queue: &'static str,
    before: Option<Count>,
) -> lapin::Result<Count> {
    let channel = connection.create_channel().await?;
    let count = topology::count(&channel, queue).await?;
    // Twice, so that no message is on its way that was published before the key was taken away.
    if count == Count::default() && before == Some(count) {
        match tokio::time::timeout(ANSWERED_WITHIN, delete(&channel, queue)).await {
            Ok(Ok(true)) => tracing::info!(queue, "A queue of an earlier release was deleted."),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::warn!(queue, %error, "A queue of an earlier release cannot be deleted.")
            }
            Err(_) => tracing::warn!(
                queue,
                "A queue of an earlier release does not answer; it is not deleted."
            ),
        }
    }
    // A message that was taken goes back with the channel.
    drop(channel.close(200, "counted".into()).await);
    Ok(count)
}

/// Deletes a queue, if it has no message. A quorum queue that has lost its leader is counted as empty, and cannot be told to stay
/// where it is not: so it is asked for a message, which it cannot answer then.
async fn delete(channel: &Channel, queue: &'static str) -> lapin::Result<bool> {
    if channel.basic_get(queue.into(), BasicGetOptions::default()).await?.is_some() {
        return Ok(false);
    }
    let is_classic = queue.ends_with(".read");
    let options =
        QueueDeleteOptions { if_empty: is_classic, if_unused: is_classic, ..Default::default() };
    channel.queue_delete(queue.into(), options).await.map(|_| true)
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == 404)
}
