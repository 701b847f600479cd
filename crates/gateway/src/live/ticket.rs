//! [`WatchedTicket`]: a ticket of a caller's, told each time that it has moved, until it has ended.
//!
//! Not here: the form on the wire (events.rs, socket/session.rs), tickets themselves (../tickets.rs).

use std::sync::Arc;
use std::time::Duration;

use beds_core::Result;
use beds_core::ticket::{Ticket, no_such_ticket};
use beds_transport::Context;
use serde_json::{Value, json};

use super::hub::{Ending, Proof};
use crate::Room;
use crate::tickets::{Look, is_id};

/// Word of a ticket can get lost; it is looked at so often all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Between two looks at the caller.
const JUDGED: Duration = Duration::from_millis(400);

pub(crate) struct WatchedTicket {
    room: Arc<Room>,
    proof: Arc<dyn Proof>,
    subject: String,
    look: Look,
    /// As it was told last.
    shown: Ticket,
}

impl WatchedTicket {
    /// # Errors
    /// [`beds_core::ErrorKind::NoSuchTicket`] where the caller has none with the id.
    pub(crate) async fn begin(
        room: Arc<Room>,
        id: &str,
        context: Context,
        proof: Arc<dyn Proof>,
    ) -> Result<Self> {
        let id = Some(id.to_ascii_lowercase()).filter(|id| is_id(id)).ok_or_else(no_such_ticket)?;
        let subject = context.actor.subject.clone();
        let look = Look::at_ticket(&room, context, &id);
        let shown = look.read().await?;
        Ok(Self { room, proof, subject, look, shown })
    }

    /// The ticket as it is to be told.
    pub(crate) fn json(&self) -> Value {
        json!(self.shown.shown())
    }

    /// Waits until the ticket is another than was told; false where it had ended already.
    pub(crate) async fn next(&mut self) -> std::result::Result<bool, Ending> {
        if !self.shown.state.is_active() {
            return Ok(false);
        }
        let (stop, told) = (self.room.lent.probes.stop.clone(), self.json());
        loop {
            // Begins to listen before it looks: word of a move in between is not missed.
            let word = self.room.lent.client.watch(&Ticket::notice(&self.shown.id));
            match self.look.read().await {
                Ok(ticket) if json!(ticket.shown()) != told => {
                    self.shown = ticket;
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) if error.kind.is_retryable() => {}
                Err(_) => return Err(Ending::Lost),
            }
            let mut judged = tokio::time::interval(JUDGED);
            let look_again = tokio::time::sleep(LOOK_AGAIN);
            tokio::pin!(look_again);
            loop {
                tokio::select! {
                    () = word.given_up() => break,
                    () = &mut look_again => break,
                    () = stop.cancelled() => return Err(Ending::Stopping),
                    _ = judged.tick() => {
                        let caller = self.proof.caller();
                        if caller.is_none_or(|caller| caller.subject != self.subject) {
                            return Err(Ending::Credential);
                        }
                    }
                }
            }
        }
    }
}
