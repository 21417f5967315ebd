//! A store for tests. Its results can be scripted and delayed, and its calls are recorded.

use std::{
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use api_key_runtime::{
    admin::{KeyRecord, KeyUsage},
    store::{ChangeFeed, Changed, Changes, KeyDigest, KeyStore, StoreError},
    test_util::MemoryStore,
};

use super::wait_until;

type Found = Result<Vec<KeyRecord>, StoreError>;
type Find = dyn Fn(&dyn KeyStore, &[KeyDigest]) -> Found + Send + Sync;

/// A store that forwards to another store, with the deviations that a test sets. Clones share all
/// state.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Shared>);

struct Shared {
    store: Box<dyn KeyStore>,
    find: Box<Find>,
    changes: FakeChanges,
    state: Mutex<State>,
    changed: Condvar,
}

/// The changes that a fake store reports.
#[derive(Clone, Copy)]
pub(crate) enum FakeChanges {
    /// The changes of the other store.
    Real,
    /// Like `Real`, but calls this function after each read, with the number of the read.
    After(fn(u64)),
    /// Reports that it does not support changes.
    Unsupported,
    /// Reports everything as changed in the first read, and no changes later.
    None,
}

struct State {
    is_held: bool,
    late_by: Duration,
    /// Lookups that have read the other store but not returned.
    inside: usize,
    queries: usize,
    last_query: Instant,
    digests: Vec<KeyDigest>,
    threads: HashSet<ThreadId>,
    changes_reads: u64,
    last_changes_read: Instant,
    longest_gap: Duration,
    /// Whether a change was reported since the store was held. `read_on` is set when changes are
    /// read again after that report.
    reported: bool,
    read_on: bool,
}

impl FakeStore {
    pub(crate) fn over(store: impl KeyStore) -> Self {
        Self::scripted(store, FakeChanges::Real, KeyStore::find)
    }

    /// Returns a store whose lookups call this function. The first argument is the other store.
    pub(crate) fn scripted(
        store: impl KeyStore,
        changes: FakeChanges,
        find: impl Fn(&dyn KeyStore, &[KeyDigest]) -> Found + Send + Sync + 'static,
    ) -> Self {
        let now = Instant::now();
        Self(Arc::new(Shared {
            store: Box::new(store),
            find: Box::new(find),
            changes,
            state: Mutex::new(State {
                is_held: false,
                late_by: Duration::ZERO,
                inside: 0,
                queries: 0,
                last_query: now,
                digests: Vec::new(),
                threads: HashSet::new(),
                changes_reads: 0,
                last_changes_read: now,
                longest_gap: Duration::ZERO,
                reported: false,
                read_on: false,
            }),
            changed: Condvar::new(),
        }))
    }

    /// Returns a store that fails every lookup with this cause and does not support changes.
    pub(crate) fn failing(cause: &'static str) -> Self {
        let fail = move |_: &dyn KeyStore, _: &[KeyDigest]| Err(StoreError::new(cause));
        Self::scripted(MemoryStore::default(), FakeChanges::Unsupported, fail)
    }

    /// Returns a store that does not support changes and holds lookups from the start.
    pub(crate) fn held(store: impl KeyStore) -> Self {
        let fake = Self::scripted(store, FakeChanges::Unsupported, KeyStore::find);
        fake.hold();
        fake
    }

    /// Holds the results of lookups until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        let mut state = self.state();
        state.is_held = true;
        (state.reported, state.read_on) = (false, false);
    }

    pub(crate) fn release(&self) {
        self.state().is_held = false;
        self.0.changed.notify_all();
    }

    /// Delays the result of each later lookup by this time. The lookup still reads at once.
    pub(crate) fn answer_late_by(&self, time: Duration) {
        self.state().late_by = time;
    }

    /// Returns how many lookups have read the other store but not returned.
    pub(crate) fn inside(&self) -> usize {
        self.state().inside
    }

    #[track_caller]
    pub(crate) fn wait_until_inside(&self, calls: usize) {
        wait_until(format!("{calls} calls are held"), || self.inside() >= calls);
    }

    /// Returns how many lookups reached the store.
    pub(crate) fn queries(&self) -> usize {
        self.state().queries
    }

    /// Returns how many lookups reached the store, and when the last one did.
    pub(crate) fn last_query(&self) -> (usize, Instant) {
        let state = self.state();
        (state.queries, state.last_query)
    }

    /// Returns how often this digest was looked up.
    pub(crate) fn queries_for(&self, digest: KeyDigest) -> usize {
        self.state().digests.iter().filter(|asked| **asked == digest).count()
    }

    /// Returns how many threads have looked keys up since the last call.
    pub(crate) fn take_threads(&self) -> usize {
        std::mem::take(&mut self.state().threads).len()
    }

    /// Returns the longest time between two reads of changes since the last call.
    pub(crate) fn take_longest_gap(&self) -> Duration {
        let mut state = self.state();
        let gap = state.longest_gap.max(state.last_changes_read.elapsed());
        state.longest_gap = Duration::ZERO;
        gap
    }

    /// Returns whether a change has been reported and applied since [`hold`](Self::hold). A
    /// reported change is applied before changes are read again.
    pub(crate) fn has_applied_a_change(&self) -> bool {
        self.state().read_on
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn begin(&self, digests: &[KeyDigest]) -> Duration {
        let mut state = self.state();
        state.queries += 1;
        state.last_query = Instant::now();
        state.digests.extend_from_slice(digests);
        state.threads.insert(thread::current().id());
        state.late_by
    }
}

impl KeyStore for FakeStore {
    fn find(&self, digests: &[KeyDigest]) -> Found {
        let late_by = self.begin(digests);
        let found = (self.0.find)(&*self.0.store, digests);
        thread::sleep(late_by);
        self.state().inside += 1;
        let mut state = self.0.changed.wait_while(self.state(), |state| state.is_held).unwrap();
        state.inside -= 1;
        found
    }

    fn watch(&self) -> Result<Option<Box<dyn ChangeFeed>>, StoreError> {
        let feed = match self.0.changes {
            FakeChanges::Unsupported => return Ok(None),
            FakeChanges::None => None,
            FakeChanges::Real | FakeChanges::After(_) => match self.0.store.watch()? {
                None => return Ok(None),
                feed => feed,
            },
        };
        Ok(Some(Box::new(FakeFeed { fake: self.clone(), feed, is_new: true })))
    }

    fn record_usage(&self, uses: &[KeyUsage]) -> Result<(), StoreError> {
        self.0.store.record_usage(uses)
    }
}

/// The change feed of a fake store. Without the feed of another store, the first read reports that
/// everything has changed, and later reads report that nothing has changed.
struct FakeFeed {
    fake: FakeStore,
    feed: Option<Box<dyn ChangeFeed>>,
    is_new: bool,
}

impl FakeFeed {
    fn read(&mut self, number: u64) -> Result<Changes, StoreError> {
        let is_new = std::mem::replace(&mut self.is_new, false);
        let Some(feed) = &mut self.feed else {
            let changed = if is_new { Changed::Everything } else { Changed::Keys(Vec::new()) };
            return Ok(Changes::new(changed));
        };
        let changes = feed.changes();
        if let FakeChanges::After(then) = self.fake.0.changes {
            then(number);
        }
        changes
    }
}

impl ChangeFeed for FakeFeed {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        let began = Instant::now();
        let number = {
            let mut state = self.fake.state();
            state.read_on = state.reported;
            state.changes_reads += 1;
            state.changes_reads - 1
        };
        let changes = self.read(number)?;
        let mut state = self.fake.state();
        state.longest_gap = state.longest_gap.max(state.last_changes_read.elapsed());
        state.last_changes_read = began;
        state.reported |= changes.changed != Changed::Keys(Vec::new());
        Ok(changes)
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        if let Some(feed) = &mut self.feed {
            return feed.wait(at_most);
        }
        thread::sleep(at_most);
        Ok(())
    }
}
