//! The proof of a message, which is looked at before anything else of it: the seal of a node, a credential of its publisher, or a
//! login of RabbitMQ that stands for a caller.
//!
//! Not here: keys, tokens and seals themselves (crate auth), rights (dispatch.rs).

use std::sync::Arc;

use beds_core::actor::NODE_ROLE;
use beds_core::{Actor, BedsError, ErrorKind, Event, EventId, Unproved};
use beds_transport::Delivery;
use jiff::{SignedDuration, Timestamp};

use super::Worker;

/// How many records of refusals a login has in a minute before they are counted together.
const RECORDED_EACH: u64 = 10;

/// The farthest deadline of a client's event: the proof of its caller counts until then, and the inbox remembers it for longer.
const FARTHEST_DEADLINE: SignedDuration = SignedDuration::from_hours(24);

/// The way in which a message is proved.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// A node has sealed it: its body is believed. It names another caller where the node has proved one.
    Sealed(Option<Arc<Actor>>),
    /// Its publisher has proved a caller, and no more.
    Caller(Arc<Actor>),
    /// It is not proved, and this node believes it all the same.
    Believed,
}

impl Proof {
    /// True where a node has sent the message, or is believed to have: the headers that nodes write are believed, and the answer may go
    /// to the queue of a node.
    pub(super) fn is_of_node(&self) -> bool {
        matches!(self, Proof::Sealed(_) | Proof::Believed)
    }

    /// True where an attempt before may have had an effect. The word of a node that has put the message aside counts, and that of a
    /// client does not: each such message costs a look at the inbox.
    pub(super) fn is_in_doubt(&self, delivery: &Delivery) -> bool {
        delivery.is_redelivered() || self.is_of_node() && delivery.is_marked_in_doubt()
    }

    /// How often the message has waited for better times.
    pub(super) fn waits(&self, delivery: &Delivery) -> u32 {
        if self.is_of_node() { delivery.waits() } else { 0 }
    }

    /// The caller that a node has proved, where the body does not name it: it has to go with the message.
    pub(super) fn actor(&self) -> Option<&Actor> {
        match self {
            Proof::Sealed(actor) => actor.as_deref(),
            Proof::Caller(actor) => Some(actor),
            Proof::Believed => None,
        }
    }

    /// The event in the name of its proved caller.
    ///
    /// # Errors
    /// [`Unproved`] where the body says more than its publisher has proved.
    pub(super) fn apply(&self, mut event: Event) -> std::result::Result<Event, Unproved> {
        match self {
            Proof::Sealed(None) => {}
            // A node has put a client's event aside.
            Proof::Sealed(Some(actor)) => {
                refuse_words_of_nodes(&event)?;
                event.actor = Arc::clone(actor);
                event.bind_to_actor();
            }
            Proof::Believed => Arc::make_mut(&mut event.actor).roles.push(NODE_ROLE.to_owned()),
            Proof::Caller(actor) => {
                let told = &event.actor;
                let is_same = told.subject.is_empty() || told.subject == actor.subject;
                let has_more = !told.roles.iter().all(|role| actor.roles.contains(role))
                    || told
                        .claims
                        .iter()
                        .any(|(name, claim)| actor.claims.get(name) != Some(claim));
                if !is_same || has_more {
                    return Err(Unproved(
                        "the event names another caller than its publisher has proved",
                    ));
                }
                refuse_words_of_nodes(&event)?;
                if event.deadline.duration_since(Timestamp::now()) > FARTHEST_DEADLINE {
                    return Err(Unproved("the deadline is more than a day away"));
                }
                event.actor = Arc::clone(actor);
                event.bind_to_actor();
            }
        }
        Ok(event)
    }
}

/// An error where an event holds members that say where it came from and which one it repeats: a node knows that, and no client.
fn refuse_words_of_nodes(event: &Event) -> std::result::Result<(), Unproved> {
    match event.origin.is_some() || event.replay_of.is_some() {
        true => Err(Unproved("the event has members that nodes alone may set")),
        false => Ok(()),
    }
}

impl Worker<'_> {
    /// Looks for the proof of a message.
    pub(super) fn proof(&self, delivery: &Delivery) -> std::result::Result<Proof, Unproved> {
        if delivery.has_seal() {
            return match self.publisher.is_sealed(delivery) {
                true => Ok(Proof::Sealed(delivery.proved_actor().map(Arc::new))),
                false => Err(Unproved("the seal is not that of a node on this message")),
            };
        }
        if let Some(credential) = delivery.credential() {
            return self.gate.caller(credential).map(Proof::Caller);
        }
        match delivery.login().and_then(|login| self.gate.login(login)) {
            Some(actor) => Ok(Proof::Caller(actor)),
            None if self.publisher.needs_proof() => {
                Err(Unproved("there is no proof of the caller"))
            }
            None => Ok(Proof::Believed),
        }
    }

    /// Ends a message whose publisher has proved nothing: it is answered, recorded and kept apart, and nothing is executed.
    pub(super) async fn refuse_unproved(&self, delivery: &Arc<Delivery>, unproved: Unproved) {
        let (queue, login) = (delivery.queue(), delivery.login().unwrap_or_default());
        if let Some(before) = self.complaints.say(&format!("unproved {queue} {login} {unproved}")) {
            let reason = unproved.0;
            tracing::warn!(
                queue,
                login,
                reason,
                before,
                "An event was not proved; it is not executed."
            );
        }
        // Those that are recorded are kept too: a flood of the others must not take the time of a task.
        if let Some(before) = self.complaints.say_first(RECORDED_EACH, &format!("unproved {login}"))
        {
            self.reporter.unproved(delivery, login, before);
            if let Err(failure) = self.publisher.keep_unproved(delivery, unproved.0).await {
                tracing::debug!(%failure, queue, "An unproved message could not be kept.");
            }
        }
        let id = EventId(delivery.message_id().to_owned());
        self.refuse(delivery, &id, &unknown()).await;
        delivery.ack();
    }
}

fn unknown() -> BedsError {
    let text = "the caller of the event is not proved; docs/wire.md says how it can be";
    BedsError::new(ErrorKind::Unauthenticated, text)
}
