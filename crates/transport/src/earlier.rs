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
use lapin::{Connection, ConnectionProperties};

use crate::link::Link;
use crate::socket;
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
            "{queue} is a queue of an earlier release, with {messages} messages and {consumers} consumers: move its messages to \
             beds.events (docs/operations.md, RabbitMQ)"
        ))
    }

    /// Takes the keys away from those queues, again and again, and deletes the ones that are empty and unused.
    pub(crate) async fn serve(self, link: Link, url: String) {
        loop {
            let live = link.live().await;
            let mut known: BTreeMap<&'static str, Option<Count>> =
                SEED_KEYS.map(|queue| (queue, None)).into();
            while live.connection.status().connected() {
                if let Err(error) = self.look(&live.connection, &url, &mut known).await {
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
        url: &str,
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
            match count(connection, queue).await {
                Ok(count) => {
                    // Twice, so that no message is on its way that was published before the key was taken away.
                    let is_unused = count == Count::default() && known[queue] == Some(count);
                    let is_gone = is_unused && is_deleted(url, queue).await;
                    match is_gone {
                        true => drop(known.remove(queue)),
                        false => drop(known.insert(queue, Some(count))),
                    }
                }
                // RabbitMQ logs each question for a queue that is not there: so it is asked once a connection.
                Err(error) if is_not_found(&error) => drop(known.remove(queue)),
                Err(error) => {
                    tracing::debug!(queue, %error, "A queue of an earlier release could not be counted.");
                }
            }
        }
        let left = known.iter().filter_map(|(queue, count)| Some((*queue, (*count)?))).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
        Ok(())
    }
}

async fn count(connection: &Connection, queue: &str) -> lapin::Result<Count> {
    let channel = connection.create_channel().await?;
    let count = topology::count(&channel, queue).await?;
    channel.close(200, "counted".into()).await?;
    Ok(count)
}

/// Deletes a queue that seems to be empty; false where it stays.
async fn is_deleted(url: &str, queue: &'static str) -> bool {
    match tokio::time::timeout(ANSWERED_WITHIN, delete(url, queue)).await {
        Ok(Ok(true)) => {
            tracing::info!(queue, "A queue of an earlier release was deleted.");
            return true;
        }
        Ok(Ok(false)) => {}
        Ok(Err(error)) => {
            tracing::warn!(queue, %error, "A queue of an earlier release cannot be deleted.");
        }
        Err(_) => {
            tracing::warn!(queue, "A queue of an earlier release does not answer; it stays.");
        }
    }
    false
}

/// A quorum queue without a leader is counted as empty, and a quorum queue cannot be told to stay where it is not empty: so it is
/// asked for a message first, which it cannot answer then (both tried on 3.10.8). RabbitMQ ends the connection after a minute of
/// that, so this is one of its own.
async fn delete(url: &str, queue: &'static str) -> lapin::Result<bool> {
    let properties = ConnectionProperties::default().with_connection_name("beds earlier".into());
    let connection = socket::connect(url, properties).await?;
    let channel = connection.create_channel().await?;
    // A message goes back with the connection.
    let is_empty = channel.basic_get(queue.into(), BasicGetOptions::default()).await?.is_none();
    if is_empty {
        let is_classic = queue.ends_with(".read");
        let options = QueueDeleteOptions {
            if_empty: is_classic,
            if_unused: is_classic,
            ..Default::default()
        };
        channel.queue_delete(queue.into(), options).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(is_empty)
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == 404)
}
