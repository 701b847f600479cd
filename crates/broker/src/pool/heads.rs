//! [`Heads`]: the ends of the audit chains that this process writes, for the notary that signs them. They come from the
//! writes of this process and not from the database, so that an addition to the database gets no signature.
//!
//! Not here: signatures (`beds::notary`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beds_trail::audit::Head;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<BTreeMap<String, State>>>);

#[derive(Debug, Default)]
struct State {
    /// Where the chain ends; none while that is in doubt.
    head: Option<Head>,
    /// Where it ended when that was known last.
    written: Option<Head>,
    /// Another writer wrote into the chain: it is not vouched for any more.
    is_foreign: bool,
}

impl Heads {
    /// The end of a chain, if it was written here.
    pub(crate) fn get(&self, chain: &str) -> Option<Head> {
        self.lock().get(chain).and_then(|state| state.head.clone())
    }

    /// The chain ends here now; none where only the database knows.
    pub(crate) fn set(&self, chain: &str, head: Option<Head>) {
        let mut states = self.lock();
        let state = states.entry(chain.to_owned()).or_default();
        // Keeps the last known end: it can be signed while the next batch is stored.
        if head.is_some() {
            state.written.clone_from(&head);
        }
        state.head = head;
    }

    /// Nothing is known of the chain any more: it begins again with the database's last record.
    pub(crate) fn forget(&self, chain: &str) {
        self.lock().remove(chain);
    }

    pub(crate) fn mark_foreign(&self, chain: &str) {
        self.lock().entry(chain.to_owned()).or_default().is_foreign = true;
    }

    /// The ends that can be vouched for.
    pub(crate) fn own(&self) -> Vec<Head> {
        self.lock()
            .values()
            .filter(|state| !state.is_foreign)
            .filter_map(|state| state.written.clone())
            .collect()
    }

    /// The chains that are not vouched for any more.
    pub(crate) fn foreign(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, state)| state.is_foreign)
            .map(|(chain, _)| chain.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_can_be_signed_while_the_next_batch_is_under_way() {
        let heads = Heads::default();
        let end = Head { chain: "a".into(), seq: 3, hash: "h".into() };
        heads.set("a", Some(end.clone()));
        heads.set("a", None);
        assert_eq!((heads.get("a"), heads.own()), (None, vec![end]));
        heads.mark_foreign("a");
        assert_eq!((heads.own(), heads.foreign()), (vec![], vec!["a".to_owned()]));
        heads.forget("a");
        assert_eq!(heads.foreign(), Vec::<String>::new());
    }
}
