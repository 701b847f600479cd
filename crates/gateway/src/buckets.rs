//! [`Buckets`]: the bad signatures that an address may show before its tokens are not looked at any more. A look at one takes
//! time, and anyone can send one.
//!
//! Not here: the look itself (crate auth).

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quick_cache::sync::Cache;

/// Bad credentials in a row, and how many more each second.
const ROOM: f64 = 100.0;
const EACH_SECOND: f64 = 20.0;
/// Addresses that are remembered; beyond them, those that were quiet are forgotten.
const ADDRESSES: usize = 4096;

/// By address; of version 6, by its first 64 bits, which one caller has as a whole.
pub(crate) struct Buckets {
    of: Cache<IpAddr, Arc<Mutex<Bucket>>>,
    /// The first bad signature sets it: until then, no request looks for its address.
    is_used: AtomicBool,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { of: Cache::new(ADDRESSES), is_used: AtomicBool::new(false) }
    }
}

impl Buckets {
    /// True where no address has shown a bad signature.
    pub(crate) fn is_unused(&self) -> bool {
        !self.is_used.load(Ordering::Relaxed)
    }

    /// True where the address has shown too many of late.
    pub(crate) fn is_empty(&self, address: IpAddr) -> bool {
        self.of.get(&whole(address)).is_some_and(|bucket| {
            bucket.lock().unwrap_or_else(PoisonError::into_inner).at(Instant::now()) < 1.0
        })
    }

    /// Counts a bad signature.
    pub(crate) fn take(&self, address: IpAddr) {
        self.is_used.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let new = || Ok::<_, std::convert::Infallible>(Bucket::full(now));
        let Ok(bucket) = self.of.get_or_insert_with(&whole(address), new);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        *bucket = Bucket { left: (bucket.at(now) - 1.0).max(0.0), at: now };
    }
}

impl Bucket {
    fn full(at: Instant) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { left: ROOM, at }))
    }

    /// Its content at a time.
    fn at(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        since.mul_add(EACH_SECOND, self.left).min(ROOM)
    }
}

fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_is_told_and_no_other_one() {
        let buckets = Buckets::default();
        let [one, other] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        assert!(buckets.is_unused() && !buckets.is_empty(one));
        for _ in 0..=ROOM as usize {
            buckets.take(one);
        }
        assert!(buckets.is_empty(one) && !buckets.is_empty(other));
        let soon = Instant::now() + std::time::Duration::from_secs(1);
        let bucket = *buckets.of.get(&one).unwrap().lock().unwrap();
        assert!(bucket.at(soon) > 1.0);
        // One caller has a whole network of version 6.
        let [a, b] = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| text.parse().unwrap());
        assert_eq!(whole(a), whole(b));
        assert_eq!(whole("::ffff:127.0.0.1".parse().unwrap()), one);
    }
}
