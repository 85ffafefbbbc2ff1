//! Counts per key and minute, in bounded memory: who exceeds a count is told when to come back.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const WINDOW_S: u64 = 60;

/// Counts events per key in windows of one minute.
pub(crate) struct Limiter<K> {
    per_minute_max: u32,
    keys_max: usize,
    windows: Mutex<Windows<K>>,
}

struct Windows<K> {
    minute: u64,
    counts: HashMap<K, u32>,
    /// Counts all keys that did not fit: they share one allowance, so that filling the table buys nothing.
    rest: u32,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new(per_minute_max: u32, keys_max: usize) -> Self {
        let windows = Windows { minute: 0, counts: HashMap::new(), rest: 0 };
        Self { per_minute_max, keys_max, windows: Mutex::new(windows) }
    }

    /// Counts one event of `key` at `now` (monotonic).
    ///
    /// # Errors
    /// When the key has used up its minute: how long until the next.
    pub(crate) fn count(&self, key: K, now: Duration) -> Result<(), Duration> {
        let minute = now.as_secs() / WINDOW_S;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.minute != minute {
            *windows = Windows { minute, counts: HashMap::new(), rest: 0 };
        }
        let full = windows.counts.len() >= self.keys_max;
        let Windows { counts, rest, .. } = &mut *windows;
        let count = if full && !counts.contains_key(&key) { rest } else { counts.entry(key).or_insert(0) };
        *count = count.saturating_add(1);
        if *count <= self.per_minute_max {
            return Ok(());
        }
        Err(Duration::from_secs((minute + 1) * WINDOW_S).saturating_sub(now))
    }
}

/// Returns what of an address counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has.
pub(crate) fn client_key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        // The top bit is set, so that no network is taken for an IPv4 address.
        IpAddr::V6(v6) => u64::try_from(u128::from(v6) >> 64).unwrap_or(0) | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gets_its_minute_and_then_the_next() {
        let limiter = Limiter::new(2, 8);
        let at = |s| Duration::from_secs(s);
        assert_eq!(limiter.count(1, at(61)), Ok(()));
        assert_eq!(limiter.count(1, at(62)), Ok(()));
        assert_eq!(limiter.count(1, at(63)), Err(at(57)));
        assert_eq!(limiter.count(2, at(63)), Ok(()));
        assert_eq!(limiter.count(1, at(120)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_strangers_share() {
        let limiter = Limiter::new(3, 2);
        let refused = (0..100).filter(|key| limiter.count(*key, Duration::ZERO).is_err()).count();
        assert_eq!(refused, 100 - 2 - 3);
        assert_eq!(limiter.count(0, Duration::ZERO), Ok(()));
        assert_eq!(limiter.windows.lock().expect("not poisoned").counts.len(), 2);
    }

    #[test]
    fn a_subscriber_is_one_client() {
        let key = |text: &str| client_key(text.parse().expect("address"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
