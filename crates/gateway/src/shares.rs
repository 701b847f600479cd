//! [`Shares`]: the requests in flight of each caller, so that one caller takes not all places.
//!
//! Not here: the places of all callers together (limits.rs).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Requests in flight by the subject of their caller. It holds no subject that has none.
#[derive(Default)]
pub(crate) struct Shares(Mutex<HashMap<String, usize>>);

/// A place of one caller, for as long as the value lives.
pub(crate) struct Share<'s> {
    of: &'s Shares,
    subject: String,
}

impl Shares {
    /// A place, unless the caller has so many already.
    pub(crate) fn take(&self, subject: &str, most: usize) -> Option<Share<'_>> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(subject) {
            Some(count) if *count >= most => return None,
            Some(count) => *count += 1,
            None => drop(taken.insert(subject.to_owned(), 1)),
        }
        Some(Share { of: self, subject: subject.to_owned() })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.subject) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_places_and_gives_them_back() {
        let shares = Shares::default();
        let ana: Vec<_> = (0..2).map(|_| shares.take("ana", 2)).collect();
        assert!(ana.iter().all(Option::is_some) && shares.take("ana", 2).is_none());
        assert!(shares.take("bob", 2).is_some());
        drop(ana);
        assert!(shares.0.lock().unwrap().is_empty());
        assert!(shares.take("ana", 2).is_some());
    }
}
