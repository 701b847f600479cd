//! [`Seen`]: the ids of the last changes, because one can stand in the stream twice.
//!
//! Not here: the reason for that (broker/relay.rs).

use std::collections::{HashSet, VecDeque};

/// Ids that are remembered. The one that publishes repeats a few hundred at most.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// True for an id that is new.
    pub(crate) fn note(&mut self, id: &str) -> bool {
        if self.ids.contains(id) {
            return false;
        }
        if self.order.len() == MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.ids.insert(id.to_owned());
        self.order.push_back(id.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_are_known_and_their_number_is_bounded() {
        let mut seen = Seen::default();
        assert!(seen.note("a") && !seen.note("a"));
        assert!((0..MOST).all(|number| seen.note(&number.to_string())));
        assert_eq!((seen.ids.len(), seen.order.len()), (MOST, MOST));
        assert!(seen.note("a") && !seen.note("5"));
    }
}
