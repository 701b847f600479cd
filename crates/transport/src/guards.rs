//! [`Guards`]: the work that everybody depends on goes on after a panic, and the node is not ready meanwhile.
//!
//! Not here: broker tasks, which `broker::pool::supervisor` replaces one by one.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

/// Between a panic and the next attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guards(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Guards {
    /// The names of the work that has panicked and is not begun anew yet.
    pub fn away(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Runs a piece of work. None where it panicked; by then a moment has passed, and it can be begun anew.
    pub async fn run<T>(&self, name: &'static str, work: impl Future<Output = T>) -> Option<T> {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => Some(done),
            Err(panic) => {
                // A text may quote a value.
                let panic = message_of(panic.as_ref());
                let panic = panic.split(['`', '"', '\'']).next().unwrap_or_default();
                tracing::error!(
                    work = name,
                    panic,
                    "Work that the node depends on panicked; it is begun anew."
                );
                let _away = Away::enter(self.clone(), name);
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    /// Runs work that has no end, and begins it anew after each panic.
    pub async fn forever<W: Future<Output = ()>>(self, name: &'static str, begin: impl Fn() -> W) {
        while self.run(name, begin()).await.is_none() {}
    }
}

struct Away(Guards, &'static str);

impl Away {
    fn enter(guards: Guards, name: &'static str) -> Self {
        *guards.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self(guards, name)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let mut away = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = away.get_mut(self.1) {
            *count -= 1;
            if *count == 0 {
                away.remove(self.1);
            }
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_begun_anew_and_is_away_meanwhile() {
        let guards = Guards::default();
        let begun = Arc::new(AtomicU32::new(0));
        let number = Arc::clone(&begun);
        let work = guards.clone().forever("work", move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            async move { assert!(number > 1, "a panic for a test") }
        });
        let look = async {
            tokio::task::yield_now().await;
            guards.away()
        };
        let (away, ()) = tokio::join!(look, work);
        assert_eq!(away, ["work"]);
        assert_eq!((begun.load(Ordering::Relaxed), guards.away().len()), (3, 0));
    }
}
