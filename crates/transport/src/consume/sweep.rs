//! [`Sweep`]: the last messages of a queue that nobody consumes any more. Gateways go on publishing until they have noticed, and the
//! callers of these requests would wait for their deadlines.
//!
//! Not here: regular consumers (../consume.rs).

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicGetOptions;
use tokio::time::Instant;

use super::acks::Acks;
use super::delivery::Delivery;
use crate::consumers::Consumers;
use crate::link::Link;
use crate::topology::{self, Queue};

/// Longer than three looks of a gateway.
const LONGEST: Duration = Duration::from_millis(3500);
const PAUSE: Duration = Duration::from_millis(50);
/// Messages without a requester, which lose nothing by waiting: it ends with these.
const MOST_UNANSWERED: u32 = 16;

/// Takes messages one by one, for a short time, and only while no node consumes the queue.
pub struct Sweep {
    link: Link,
    consumers: Consumers,
    queue: Queue,
    open: Option<(Channel, Arc<Acks>)>,
    end: Instant,
    unanswered: u32,
}

impl Sweep {
    pub(crate) fn new(link: &Link, consumers: &Consumers, queue: Queue) -> Self {
        let (link, consumers, end) = (link.clone(), consumers.clone(), Instant::now() + LONGEST);
        Self { link, consumers, queue, open: None, end, unanswered: 0 }
    }

    /// The next message; none at the end. Safe to cancel: a message that was taken then goes back with the channel.
    pub async fn next(&mut self) -> Option<Delivery> {
        if self.open.is_none() {
            let channel = self.link.now().ok()?.connection.create_channel().await.ok()?;
            // A quorum queue counts a channel whose message is not settled.
            let counted = self.consumers.count(self.queue.name());
            self.open = Some((channel.clone(), Arc::new(Acks::new(channel, 1).counted(counted))));
        }
        let (channel, acks) = self.open.as_ref()?;
        while Instant::now() < self.end && self.unanswered < MOST_UNANSWERED {
            // A failure ends the sweep: the callers then
            // wait for their deadlines, as without it.
            let count = topology::count(channel, self.queue.name()).await.ok()?;
            // Another node consumes it.
            if usize::try_from(count.consumers).ok()? > self.consumers.counted(self.queue.name()) {
                return None;
            }
            // Takes by basic_get: a consumer would tell the gateways that the queue is served.
            let taken = channel
                .basic_get(self.queue.name().into(), BasicGetOptions::default())
                .await
                .ok()?;
            let Some(message) = taken else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let delivery = Delivery::new(message.delivery, &self.queue, acks);
            self.unanswered += u32::from(delivery.reply_to().is_none());
            return Some(delivery);
        }
        None
    }
}
