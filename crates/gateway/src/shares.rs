//! [`Shares`]: the part that each caller has of the places and of the room for bodies, so that none takes all.
//!
//! Not here: the places of all callers together (limits.rs).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Amounts by the subject of a caller: requests in flight, or KiB of bodies. It holds no subject that has none. A keyed hash stands
/// for the subject, because each request takes a share: no text is copied for it.
#[derive(Default)]
pub(crate) struct Shares {
    hasher: RandomState,
    taken: Mutex<HashMap<u64, usize>>,
}

/// An amount of one caller, for as long as the value lives.
pub(crate) struct Share {
    of: Arc<Shares>,
    subject: u64,
    amount: usize,
}

impl Shares {
    /// An amount, unless the caller would have more than `most` with it.
    pub(crate) fn take(
        self: &Arc<Self>,
        subject: &str,
        amount: usize,
        most: usize,
    ) -> Option<Share> {
        let subject = self.hasher.hash_one(subject);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&subject) {
            Some(has) if *has + amount > most => return None,
            Some(has) => *has += amount,
            None => drop(taken.insert(subject, amount)),
        }
        Some(Share { of: Arc::clone(self), subject, amount })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.subject) {
            Some(has) if *has > self.amount => *has -= self.amount,
            _ => drop(taken.remove(&self.subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_places_and_gives_them_back() {
        let shares = Arc::new(Shares::default());
        let ana: Vec<_> = (0..2).map(|_| shares.take("ana", 1, 2)).collect();
        assert!(ana.iter().all(Option::is_some) && shares.take("ana", 1, 2).is_none());
        assert!(shares.take("bob", 1, 2).is_some());
        drop(ana);
        assert!(shares.taken.lock().unwrap().is_empty());
        assert!(shares.take("ana", 1, 2).is_some());
    }
}
