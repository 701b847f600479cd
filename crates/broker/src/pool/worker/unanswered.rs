//! A message that waits for better times: a write that failed and whose requester waits for no answer, or an event that only a node
//! of a later release understands. The message itself must not get lost.
//!
//! Not here: which messages wait (ending.rs), the search for an effect (doubt.rs).

use std::sync::Arc;
use std::time::Duration;

use beds_core::{BedsError, Event, EventId};
use beds_transport::topology::{LATER, LONGEST_WAIT, WAITING};
use beds_transport::{Delivery, TransportError, Waited};
use fail::fail_point;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Worker;
use super::proof::Proof;
use super::settle::Taken;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long a message is held while RabbitMQ takes none. RabbitMQ takes one away that is held for half an hour
/// (`consumer_timeout`).
const HELD: Duration = Duration::from_secs(600);
/// How long after its deadline a write in doubt is looked up, and how often at least.
const LOOKED_UP: SignedDuration = SignedDuration::from_hours(1);
const FEWEST_LOOKS: u32 = 10;
/// How often a write waits for a node of a later release: about an hour.
const MOST_WAITS: u32 = 360;
/// How often a read does: about a minute.
const MOST_WAITS_OF_A_READ: u32 = 10;

/// RabbitMQ's word on a message that was to wait.
#[derive(PartialEq, Eq)]
enum Waits {
    Yes,
    /// The queue is full or missing.
    Refused,
    /// None: the node stops, or RabbitMQ does not confirm. It may have the message.
    Unknown,
}

impl Worker<'_> {
    /// Sends the message to wait before the next attempt. It does not wait in the hands of this task: a database that is away would
    /// then hold up the writes of all others. Nor is it just given back: handed out again and again, it would be a dead letter
    /// before a database has restarted.
    pub(super) async fn wait(&self, taken: &Taken<'_>, is_in_doubt: bool) {
        let delivery = taken.delivery;
        match self.put_aside(delivery, WAITING, is_in_doubt, &taken.proof).await {
            Waits::Yes => delivery.ack(),
            Waits::Refused | Waits::Unknown => self.hand_back(delivery).await,
        }
    }

    /// A node of a later release may take it, so it waits for one: a write for about an hour, before it is kept for a
    /// person; a read for about a minute, before it is answered. It does not wait in the hands of
    /// this task, but for RabbitMQ's confirm: a few messages with a high version would stop all others.
    pub(super) async fn wait_for_later_release(
        &self,
        delivery: &Arc<Delivery>,
        error: &BedsError,
        proof: &Proof,
    ) {
        if self.complaints.say("an event of a later release").is_some() {
            tracing::warn!(
                queue = delivery.queue(),
                "An event is of a later release than this node; it goes back."
            );
        }
        let most = if self.pool.key.is_write() { MOST_WAITS } else { MOST_WAITS_OF_A_READ };
        if proof.waits(delivery) < most {
            match self.put_aside(delivery, LATER, proof.is_in_doubt(delivery), proof).await {
                Waits::Yes => return delivery.ack(),
                Waits::Unknown => return self.hand_back(delivery).await,
                // Others have filled the queue: this one ends here.
                Waits::Refused => {}
            }
        }
        if self.pool.key.is_write() {
            return self.bury_unread(delivery, "malformed", error, proof.actor()).await;
        }
        self.refuse(delivery, &EventId(delivery.message_id().to_owned()), error).await;
        delivery.ack();
    }

    /// Gives the message back after a moment. RabbitMQ counts that for a write, and makes a dead letter of it in the end.
    async fn hand_back(&self, delivery: &Delivery) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(FIRST_PAUSE) => {}
        }
        delivery.requeue();
    }

    /// Puts the message into the queue of `exchange`. The caller settles it.
    async fn put_aside(
        &self,
        delivery: &Delivery,
        exchange: &'static str,
        is_in_doubt: bool,
        proof: &Proof,
    ) -> Waits {
        let (waits, actor) = (proof.waits(delivery), proof.actor());
        let wait = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(waits)).min(LONGEST_WAIT);
        let waited = Waited { times: waits.saturating_add(1), is_in_doubt };
        let (mut pause, end) = (FIRST_PAUSE, Instant::now() + HELD);
        loop {
            let failure = match self.publisher.wait(delivery, exchange, wait, waited, actor).await {
                Ok(()) => {
                    fail_point!("aside", |_| {
                        super::die();
                        Waits::Unknown
                    });
                    return Waits::Yes;
                }
                Err(failure) => failure,
            };
            match failure {
                TransportError::Refused | TransportError::Unroutable => return Waits::Refused,
                TransportError::NotConnected | TransportError::Blocked if Instant::now() < end => {}
                // After `Unconfirmed`, to publish it again and again would leave a copy each time.
                _ => return Waits::Unknown,
            }
            tokio::select! {
                () = self.stop.cancelled() => return Waits::Unknown,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_WAIT),
            }
        }
    }
}

/// True for a write whose deadline passed an hour ago, that has been looked up again and again, and whose effect is still unknown.
pub(super) fn has_waited_enough(waits: u32, event: &Event) -> bool {
    let passed = Timestamp::now().duration_since(event.deadline);
    passed >= LOOKED_UP && waits >= FEWEST_LOOKS
}
