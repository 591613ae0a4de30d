//! Callers that could not say who they are: counted by why, and told to slow down by address.
//!
//! A right token is always let in, however many wrong ones came from the same address: whoever shares an address with a
//! guesser must not be locked out, and 256 random bits are not guessed. What is bounded is what wrong ones cost: lines in
//! the log, and memory.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Failures of one address that are answered and logged one by one.
const BURST: u32 = 10;
/// One more is, each so often.
const REFILL: Duration = Duration::from_secs(6);
/// Addresses that are remembered; the one that came first is forgotten first.
const ADDRESSES: usize = 4_096;

/// Why somebody was not let in, as metrics name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// No token was shown.
    Missing,
    /// A token nobody knows.
    Unknown,
    /// A token that was good once.
    Expired,
    /// A good token, for something else.
    Role,
}

impl Failure {
    pub(crate) const ALL: [Self; 4] = [Self::Missing, Self::Unknown, Self::Expired, Self::Role];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Role => "role",
        }
    }

    /// May somebody be trying tokens out?
    pub(crate) fn is_a_guess(self) -> bool {
        matches!(self, Self::Unknown | Self::Expired)
    }
}

/// Failures by address.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    table: Mutex<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    seen: BTreeMap<IpAddr, (u32, Instant)>,
    order: VecDeque<IpAddr>,
}

impl Failures {
    /// One more failure of this address. `false`: there were too many lately.
    pub(crate) fn one_more(&self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if !table.seen.contains_key(&address) {
            if table.order.len() >= ADDRESSES
                && let Some(oldest) = table.order.pop_front()
            {
                table.seen.remove(&oldest);
            }
            table.order.push_back(address);
        }
        let (left, since) = table.seen.entry(address).or_insert((BURST, now));
        let refilled = now.saturating_duration_since(*since).as_millis() / REFILL.as_millis();
        if refilled > 0 {
            *left = BURST.min(left.saturating_add(u32::try_from(refilled).unwrap_or(BURST)));
            *since = now;
        }
        let is_within = *left > 0;
        *left = left.saturating_sub(1);
        is_within
    }
}

/// One household has 2^64 addresses of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_burst_and_then_its_rate() {
        let (failures, start) = (Failures::default(), Instant::now());
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        assert!((0..BURST).all(|_| failures.one_more(a, start)));
        assert!(!failures.one_more(a, start) && failures.one_more(b, start), "each for itself");
        assert!(failures.one_more(a, start + REFILL) && !failures.one_more(a, start + REFILL));
        let later = start + REFILL * 1_000;
        assert_eq!((0..100).filter(|_| failures.one_more(a, later)).count(), BURST as usize);
    }

    #[test]
    fn the_table_is_bounded_and_a_network_of_ipv6_is_one_address() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..20_000u32 {
            failures.one_more(IpAddr::from(n.to_be_bytes()), now);
        }
        let table = failures.table.lock().unwrap();
        assert_eq!((table.seen.len(), table.order.len()), (ADDRESSES, ADDRESSES));
        drop(table);
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
