//! [`Turns`]: how many tickets of a caller wait and which turn is its next, as far as this desk knows. A look into the store is believed for a
//! second, and counted on with each ticket that is asked for here.
//!
//! Not here: the look into the store (store.rs), the limits (desk.rs).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a look is believed. Tickets that other desks take meanwhile, and those that are begun, are not seen so long.
const BELIEVED: Duration = Duration::from_secs(1);
/// Callers that are remembered. With more, those whose look is old are forgotten, and with too many of them all are.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Look>>);

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    waiting: u32,
    turn: i64,
}

impl Turns {
    /// The tickets of the owner that wait, and the turn of its next one, which is taken with it. None where the store is to be asked.
    pub(crate) fn take(&self, owner: &str) -> Option<(u32, i64)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_mut(owner).filter(|known| known.at.elapsed() < BELIEVED)?;
        let taken = (known.waiting, known.turn);
        known.waiting += 1;
        known.turn += 1;
        Some(taken)
    }

    /// The store has said so. The turn is taken.
    pub(crate) fn note(&self, owner: &str, waiting: u32, turn: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, known| known.at.elapsed() < BELIEVED);
        }
        if all.len() >= MOST {
            all.clear();
        }
        let known = Look { at: Instant::now(), waiting: waiting + 1, turn: turn + 1 };
        all.insert(owner.to_owned(), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_counted_on_and_callers_are_bounded() {
        let turns = Turns::default();
        assert_eq!(turns.take("ana"), None);
        turns.note("ana", 3, 10);
        assert_eq!(turns.take("ana"), Some((4, 11)));
        assert_eq!(turns.take("ana"), Some((5, 12)));
        assert_eq!(turns.take("bo"), None);
        for number in 0..=MOST {
            turns.note(&number.to_string(), 0, 1);
        }
        assert!(turns.0.lock().unwrap().len() <= MOST);
    }
}
