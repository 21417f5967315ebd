//! The usage counters that a request updates: a few atomics per key.

use std::{
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{client_ip::ClientIp, clock::MonotonicTime, lock::lock};

/// The usage of a key since the last [`take`](Self::take). If two uses are within microseconds of
/// each other, either of them may be recorded as the last use.
#[derive(Debug, Default)]
pub(crate) struct UsageCell {
    count: AtomicU64,
    /// Nanoseconds of a [`MonotonicTime`].
    last: AtomicU64,
    /// The halves of the last client IP.
    address: [AtomicU64; 2],
    /// Locked while the address is changed or taken, so that both halves always belong to the same
    /// address. A use from the same address needs no lock.
    changing: Mutex<()>,
}

/// The usage that was taken from a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) count: u64,
    pub(crate) last: MonotonicTime,
    pub(crate) address: Option<IpAddr>,
}

impl UsageCell {
    /// Counts a use. Returns `true` for the first use since the last [`take`](Self::take).
    #[inline]
    pub(crate) fn note(&self, now: MonotonicTime, address: ClientIp) -> bool {
        if self.last.load(Ordering::Relaxed) <= now.as_nanos() {
            self.last.store(now.as_nanos(), Ordering::Relaxed);
            if self.address() != address {
                self.change_address(address);
            }
        }
        // The count comes last, with release ordering. A `take` that counts this use therefore
        // finds the time and address of this use or of a later use.
        self.count.fetch_add(1, Ordering::Release) == 0
    }

    /// Returns the usage since the last call, and resets the count. Returns `None` if there was no
    /// use.
    pub(crate) fn take(&self) -> Option<Taken> {
        let count = self.count.swap(0, Ordering::Acquire);
        if count == 0 {
            return None;
        }
        let changing = lock(&self.changing);
        let address = self.address();
        drop(changing);
        Some(Taken {
            count,
            last: MonotonicTime::from_nanos(self.last.load(Ordering::Relaxed)),
            address: address.known(),
        })
    }

    #[inline]
    fn address(&self) -> ClientIp {
        let [high, low] = &self.address;
        ClientIp { halves: [high.load(Ordering::Relaxed), low.load(Ordering::Relaxed)] }
    }

    #[cold]
    fn change_address(&self, address: ClientIp) {
        let changing = lock(&self.changing);
        for (half, new) in self.address.iter().zip(address.halves) {
            half.store(new, Ordering::Relaxed);
        }
        drop(changing);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv6Addr,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    fn at(nanos: u64) -> MonotonicTime {
        MonotonicTime::from_nanos(nanos)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    // F11
    #[test]
    fn the_last_use_keeps_its_exact_address() {
        let cell = UsageCell::default();
        assert_eq!(cell.take(), None);
        for address in [
            ip("203.0.113.7"),
            ip("2001:db8:1:2:3:4:5:6"),
            // Each of the next two addresses has one half in common with the address before it.
            ip("2001:db8:1:2::6"),
            ip("2001:db9:1:2::6"),
            ip("::1"),
            ip("255.255.255.255"),
            None,
        ] {
            assert!(cell.note(at(1), ip("10.0.0.1").into()), "the first");
            assert!(!cell.note(at(2), address.into()), "the second");
            let taken = Taken { count: 2, last: at(2), address };
            assert_eq!(cell.take(), Some(taken));
            assert_eq!(cell.take(), None);
            cell.last.store(0, Ordering::Relaxed);
        }
    }

    // F11
    #[test]
    fn a_late_use_is_counted_but_is_not_the_last_use() {
        let cell = UsageCell::default();
        cell.note(at(7), ip("10.0.0.7").into());
        cell.note(at(6), ip("10.0.0.6").into());
        let taken = cell.take().unwrap();
        assert_eq!((taken.count, taken.last), (2, at(7)));
        assert_eq!(taken.address, ip("10.0.0.7"));
    }

    // F11
    #[test]
    fn concurrent_usage_counts_once_and_mixes_no_addresses() {
        const THREADS: u64 = 4;
        const USES: u64 = 20_000;
        let cell = UsageCell::default();
        let ended = AtomicBool::new(false);
        // Both halves of an address contain the number of the thread that uses the address.
        let address = |thread: u64| {
            let bits = u128::from(thread) << 64 | u128::from(thread);
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        };
        let addresses: Vec<_> = (1..=THREADS).map(address).collect();
        let (firsts, taken) = thread::scope(|scope| {
            let threads: Vec<_> = addresses
                .iter()
                .map(|address| {
                    let cell = &cell;
                    scope.spawn(move || {
                        // All uses have the same time, so that every thread changes the address.
                        (0..USES).filter(|_| cell.note(at(1), (*address).into())).count()
                    })
                })
                .collect();
            let taker = scope.spawn(|| {
                let mut taken = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    taken.extend(cell.take());
                }
                taken.extend(cell.take());
                taken
            });
            let firsts: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            ended.store(true, Ordering::Relaxed);
            (firsts, taker.join().unwrap())
        });
        assert_eq!(taken.iter().map(|taken| taken.count).sum::<u64>(), THREADS * USES);
        assert_eq!(firsts, taken.len(), "each taken count includes one first use");
        for taken in taken {
            assert!(addresses.contains(&taken.address), "{:?}", taken.address);
        }
    }

    // F11
    #[test]
    fn an_address_that_changes_at_the_moment_is_not_taken_by_half() {
        let cell = UsageCell::default();
        cell.note(at(1), ip("2001:db8::1").into());
        let changing = cell.changing.lock().unwrap();
        let [high, low] = ClientIp::from(ip("2001:db9::2")).halves;
        cell.address[0].store(high, Ordering::Relaxed);
        let taken = thread::scope(|scope| {
            let taken = scope.spawn(|| cell.take());
            thread::sleep(Duration::from_millis(100));
            cell.address[1].store(low, Ordering::Relaxed);
            drop(changing);
            taken.join().unwrap()
        });
        assert_eq!(taken.unwrap().address, ip("2001:db9::2"));
    }

    #[test]
    fn a_cell_is_small() {
        assert!(size_of::<UsageCell>() <= 48);
    }
}
