//! [`Acks`]: the acknowledgements of one channel. One stands for as many messages as it can: RabbitMQ and both connections are
//! spared the others.
//!
//! Not here: when a message is done with (crate broker).

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicRejectOptions};

use crate::consumers::Counted;

/// The acknowledgements of one channel.
pub(super) struct Acks<C = Channel> {
    channel: C,
    /// So many are sent together; fewer, when no further message is at hand. With 1, each goes out at once.
    group: usize,
    state: Mutex<State>,
    /// RabbitMQ counts the consumer until its last message is settled.
    _counted: Option<Counted>,
}

/// Tags of messages that were handed out.
#[derive(Default)]
struct State {
    /// Not done with yet.
    open: BTreeSet<u64>,
    /// Done with, and not acknowledged yet.
    done: Vec<u64>,
    /// No further message is at hand, so that acknowledgements wait for nothing.
    is_idle: bool,
}

/// Acknowledgements to send.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// Up to this tag all are done with; the number of them.
    together: Option<(u64, usize)>,
    /// Done with before one that is not.
    single: Vec<u64>,
}

/// The two ways to settle a message. Neither waits.
pub(super) trait Settle {
    /// With `multiple` for all up to the tag.
    fn ack(&self, tag: u64, multiple: bool);
    fn reject(&self, tag: u64);
}

impl Settle for Channel {
    // Through the channel, because lapin's own `Acker` would take the way round by a task.
    fn ack(&self, tag: u64, multiple: bool) {
        settled(self.basic_ack(tag, BasicAckOptions { multiple }).now_or_never());
    }

    fn reject(&self, tag: u64) {
        settled(self.basic_reject(tag, BasicRejectOptions { requeue: true }).now_or_never());
    }
}

impl<C: Settle> Acks<C> {
    pub(super) fn new(channel: C, group: usize) -> Self {
        Self { channel, group, state: Mutex::default(), _counted: None }
    }

    pub(super) fn counted(self, counted: Counted) -> Self {
        Self { _counted: Some(counted), ..self }
    }

    /// A message is handed out.
    pub(super) fn begin(&self, tag: u64) {
        // A group of 1 is acknowledged at once and in any order, so it needs no list.
        if self.group > 1 {
            let mut state = self.lock();
            state.is_idle = false;
            state.open.insert(tag);
        }
    }

    /// A message is done with. Nothing depends on when the acknowledgement is written: RabbitMQ hands out no more than the
    /// prefetch until it is.
    pub(super) fn add(&self, tag: u64) {
        if self.group == 1 {
            return self.channel.ack(tag, false);
        }
        let mut state = self.lock();
        state.open.remove(&tag);
        state.done.push(tag);
        if state.is_idle || state.done.len() >= self.group {
            self.flush(&mut state);
        }
    }

    /// A message goes back to its queue.
    pub(super) fn give_back(&self, tag: u64) {
        let mut state = self.lock();
        // Sent before another acknowledgement can stand for this message too.
        self.channel.reject(tag);
        state.open.remove(&tag);
        self.flush(&mut state);
    }

    /// No further message is at hand: sends the acknowledgements, and from now on each at once.
    pub(super) fn idle(&self) {
        let mut state = self.lock();
        state.is_idle = true;
        self.flush(&mut state);
    }

    /// Hands the acknowledgements to the connection, in order: RabbitMQ closes a channel that acknowledges a message twice, such
    /// as one that a later acknowledgement stood for already. So the lock is held until they are handed over, which waits for
    /// nothing.
    fn flush(&self, state: &mut State) {
        let due = state.due();
        if let Some((tag, count)) = due.together {
            self.channel.ack(tag, count > 1);
        }
        due.single.into_iter().for_each(|tag| self.channel.ack(tag, false));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out the tags that are done with. A slow message holds up none behind it: those are acknowledged one by one.
    fn due(&mut self) -> Due {
        let mut done = std::mem::take(&mut self.done);
        done.sort_unstable();
        // Where no message is open, one acknowledgement stands for all that are done with.
        let lowest = self.open.first().copied().unwrap_or(u64::MAX);
        let single = done.split_off(done.partition_point(|tag| *tag < lowest));
        Due { together: done.last().map(|last| (*last, done.len())), single }
    }
}

/// A settlement that does not arrive means a redelivery, which takes effect once; so it is only noted.
fn settled(sent: Option<lapin::Result<()>>) {
    if let Some(Err(error)) = sent {
        tracing::debug!(%error, "A message could not be settled; it will come again.");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn one_acknowledgement_stands_for_all_up_to_the_first_open_message() {
        let mut state =
            State { open: BTreeSet::from([4, 7]), done: vec![3, 1, 6, 2, 5], is_idle: false };
        assert_eq!(state.due(), Due { together: Some((3, 3)), single: vec![5, 6] });
        assert_eq!(state.due(), Due { together: None, single: Vec::new() });
        (state.open, state.done) = (BTreeSet::new(), vec![9, 8]);
        assert_eq!(state.due(), Due { together: Some((9, 2)), single: Vec::new() });
    }

    /// The rule of RabbitMQ: a message is settled once, and an acknowledgement names one that is not settled yet.
    #[derive(Default)]
    struct Ledger {
        unsettled: Mutex<BTreeSet<u64>>,
        broken: AtomicBool,
    }

    impl Settle for Arc<Ledger> {
        fn ack(&self, tag: u64, multiple: bool) {
            // Lets another thread come in between, where one can.
            std::thread::yield_now();
            let mut unsettled = self.unsettled.lock().unwrap();
            if !unsettled.remove(&tag) {
                self.broken.store(true, Ordering::Relaxed);
            }
            if multiple {
                *unsettled = unsettled.split_off(&tag);
            }
        }

        fn reject(&self, tag: u64) {
            self.ack(tag, false);
        }
    }

    #[test]
    fn tasks_that_end_in_any_order_settle_each_message_once() {
        let ledger = Arc::new(Ledger::default());
        let acks = Acks::new(Arc::clone(&ledger), 4);
        let (sender, messages) = std::sync::mpsc::sync_channel::<u64>(1);
        let messages = Mutex::new(messages);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let Ok(tag) = messages.lock().unwrap().recv() else { return };
                        if tag.is_multiple_of(97) { acks.give_back(tag) } else { acks.add(tag) }
                    }
                });
            }
            for tag in 1..=100_000 {
                ledger.unsettled.lock().unwrap().insert(tag);
                acks.begin(tag);
                sender.send(tag).unwrap();
            }
            drop(sender);
        });
        acks.idle();
        assert!(!ledger.broken.load(Ordering::Relaxed), "a message was settled twice");
        assert!(ledger.unsettled.lock().unwrap().is_empty(), "none is left");
    }
}
