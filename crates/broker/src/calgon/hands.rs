//! [`Hands`]: the idle tasks of a node. A desk takes one before it stores a ticket, and so stores it as begun: no second write has to claim
//! it. A task is idle only where it found no ticket that waits.
//!
//! Not here: the loop of a task (runner.rs), the ticket (desk.rs).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use beds_core::ticket::Ticket;
use tokio::sync::oneshot::{self, Receiver, Sender};

#[derive(Debug, Default)]
pub(crate) struct Hands(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    tasks: VecDeque<(u64, Hand)>,
}

/// An idle task that was taken. It waits until it is given a ticket, or this is dropped.
#[derive(Debug)]
pub(crate) struct Hand {
    /// The name of its node.
    pub(crate) node: String,
    sender: Sender<Handed>,
}

/// A ticket that its task has begun by being given it.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) ticket: Ticket,
    /// The moment before it was stored.
    pub(crate) asked: Instant,
}

/// A task that waits.
pub(crate) struct Waiter<'h> {
    hands: &'h Hands,
    number: u64,
    receiver: Receiver<Handed>,
}

impl Hands {
    /// A task of this node waits from here on.
    pub(crate) fn wait(&self, node: &str) -> Waiter<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.tasks.push_back((number, Hand { node: node.to_owned(), sender }));
        Waiter { hands: self, number, receiver }
    }

    /// The task that has waited longest.
    pub(crate) fn take(&self) -> Option<Hand> {
        self.waiting().tasks.pop_front().map(|(_, hand)| hand)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hand {
    /// Gives the task its ticket.
    ///
    /// # Errors
    /// The task has ended: the ticket comes back.
    pub(crate) fn give(self, handed: Handed) -> Result<(), Box<Handed>> {
        self.sender.send(handed).map_err(Box::new)
    }
}

impl Waiter<'_> {
    /// The ticket that the task is given; none where the desk that took the task stored none.
    pub(crate) async fn given(&mut self) -> Option<Handed> {
        (&mut self.receiver).await.ok()
    }

    /// True where a desk has taken the task: it is to wait for that one.
    pub(crate) fn is_taken(&self) -> bool {
        !self.hands.waiting().tasks.iter().any(|(number, _)| *number == self.number)
    }

    /// Waits no longer. The ticket, where a desk has taken the task before.
    pub(crate) async fn leave(mut self) -> Option<Handed> {
        if self.withdraw() { None } else { self.given().await }
    }

    /// True where no desk has taken the task.
    fn withdraw(&self) -> bool {
        let mut waiting = self.hands.waiting();
        let before = waiting.tasks.len();
        waiting.tasks.retain(|(number, _)| *number != self.number);
        waiting.tasks.len() < before
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn handed(id: &str) -> Handed {
        let ticket = json!({
            "id": id, "template": "T", "operation": "job", "state": "running", "epoch": 1,
            "created_at": "2026-01-01T00:00:00Z", "forget_at": "2026-01-02T00:00:00Z",
        });
        let ticket: Ticket = serde_json::from_value(ticket).unwrap();
        Handed { ticket, asked: Instant::now() }
    }

    #[tokio::test]
    async fn the_task_that_has_waited_longest_is_taken_first() {
        let hands = Hands::default();
        let (mut first, mut second) = (hands.wait("n"), hands.wait("n"));
        hands.take().unwrap().give(handed("1")).unwrap();
        hands.take().unwrap().give(handed("2")).unwrap();
        assert!(hands.take().is_none());
        assert_eq!(second.given().await.unwrap().ticket.id, "2");
        assert_eq!(first.given().await.unwrap().ticket.id, "1");
    }

    #[tokio::test]
    async fn a_task_that_was_taken_leaves_with_its_ticket() {
        let hands = Hands::default();
        let waiter = hands.wait("n");
        let hand = hands.take().unwrap();
        let leaving = tokio::join!(waiter.leave(), async { hand.give(handed("1")).unwrap() });
        assert_eq!(leaving.0.unwrap().ticket.id, "1");
    }

    #[tokio::test]
    async fn a_task_goes_on_where_its_desk_has_stored_nothing() {
        let hands = Hands::default();
        let (waiter, mut other) = (hands.wait("n"), hands.wait("n"));
        drop(hands.take());
        assert!(waiter.leave().await.is_none());
        drop(hands.take());
        assert!(other.given().await.is_none());
    }

    #[test]
    fn a_task_that_has_ended_is_not_taken_and_gives_its_ticket_back() {
        let hands = Hands::default();
        drop(hands.wait("n"));
        assert!(hands.take().is_none());
        let waiter = hands.wait("n");
        let hand = hands.take().unwrap();
        drop(waiter);
        assert_eq!(hand.give(handed("1")).unwrap_err().ticket.id, "1");
    }
}
