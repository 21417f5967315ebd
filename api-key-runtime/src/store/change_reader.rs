//! The connection that changes are read over: one of its own, held from one read to the next.

use std::{
    fmt,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::{ChangeCursor, Changes, StoreError};
use crate::lock::lock;

/// Something that changes are read over, of either database.
pub(super) trait ChangeReader: Send {
    /// Whether it reads what its URL still names. Asked before each read, and so after what that read must not miss.
    fn is_current(&self) -> bool {
        true
    }

    /// As [`KeyStore::changes`](super::KeyStore::changes); the first answer is always "everything". After an error it is not used again.
    fn read(&mut self, since: Option<&ChangeCursor>) -> Result<Changes, StoreError>;

    /// The number of the server that the last read was of, where keys could be looked up in another one.
    fn server(&self) -> Option<i64> {
        None
    }

    /// As [`KeyStore::wait_for_change`](super::KeyStore::wait_for_change). After an error it is not used again.
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError>;
}

/// Where the reader is kept between two calls. It is taken out while in use, so that a stuck one holds no lock, and one that is given up
/// and returns later does not take the place of the one that was opened instead.
#[derive(Default)]
pub(super) struct ReaderSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    opened: u64,
    reader: Option<NumberedReader>,
    /// None before the first read, and after a reader failed: the next one begins with "everything", whatever was looked up meanwhile.
    last_read: Option<LastRead>,
}

/// Which server was read last, and by which reader.
struct LastRead {
    server: i64,
    number: u64,
}

/// A reader, and which one it is of those opened so far.
pub(super) struct NumberedReader {
    number: u64,
    reader: Box<dyn ChangeReader>,
}

impl ReaderSlot {
    /// Runs this with the reader, which is opened first where there is none, and kept unless it fails.
    pub(super) fn with_reader<T>(
        &self,
        open: impl FnOnce() -> Result<Box<dyn ChangeReader>, StoreError>,
        run: impl FnOnce(&mut dyn ChangeReader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // One that is outdated is closed before another is opened: it may hold a lock on the file.
        let mut numbered = match self.take().filter(|kept| kept.reader.is_current()) {
            Some(numbered) => numbered,
            None => NumberedReader { number: self.next_number(), reader: open()? },
        };
        let done = run(&mut *numbered.reader).inspect_err(|_| self.forget(numbered.number))?;
        if self.put_back(numbered) {
            Ok(done)
        } else {
            Err(StoreError::new("the connection for changes was given up while it was read"))
        }
    }

    /// Runs this with the reader, if there is one, and keeps it unless it fails; whether there was one and it did not fail.
    pub(super) fn with_open_reader(
        &self,
        run: impl FnOnce(&mut dyn ChangeReader) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let Some(mut numbered) = self.take() else {
            return Ok(false);
        };
        run(&mut *numbered.reader).inspect_err(|_| self.forget(numbered.number))?;
        self.put_back(numbered);
        Ok(true)
    }

    /// Whether this is the server that changes were read in last; where none was read yet there is nothing it could differ from.
    pub(super) fn reads(&self, server: i64) -> bool {
        let slot = self.lock();
        let last_read = slot.last_read.as_ref();
        last_read.is_none_or(|last_read| last_read.server == server)
    }

    /// Drops the reader, which reads another server than this one, so that the next read opens another and begins with "everything". One
    /// that was opened since, and is about to read for the first time, stays.
    pub(super) fn give_up_other_than(&self, server: i64) {
        let mut slot = self.lock();
        let is_other =
            |last_read: &LastRead| last_read.server != server && last_read.number == slot.opened;
        if slot.last_read.as_ref().is_some_and(is_other) {
            slot.opened = slot.opened.wrapping_add(1);
            let given_up = slot.reader.take();
            drop(slot);
            drop(given_up);
        }
    }

    fn take(&self) -> Option<NumberedReader> {
        self.lock().reader.take()
    }

    fn next_number(&self) -> u64 {
        let mut slot = self.lock();
        slot.opened = slot.opened.wrapping_add(1);
        slot.opened
    }

    /// `false`: it was given up meanwhile.
    fn put_back(&self, numbered: NumberedReader) -> bool {
        let mut slot = self.lock();
        let number = numbered.number;
        if number != slot.opened {
            return false;
        }
        if let Some(server) = numbered.reader.server() {
            slot.last_read = Some(LastRead { server, number });
        }
        slot.reader = Some(numbered);
        true
    }

    /// Notes that this reader failed.
    fn forget(&self, number: u64) {
        let mut slot = self.lock();
        if number == slot.opened {
            slot.last_read = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        lock(&self.0)
    }
}

impl fmt::Debug for ReaderSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReaderSlot(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Answers which of the readers it is.
    struct Numbered(u32);

    impl ChangeReader for Numbered {
        fn read(&mut self, _: Option<&ChangeCursor>) -> Result<Changes, StoreError> {
            Ok(Changes::keys(ChangeCursor::new(self.0.to_string()), []))
        }

        fn wait(&mut self, _: Duration) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[derive(Default)]
    struct Store {
        slot: ReaderSlot,
        opened: AtomicU32,
    }

    impl Store {
        fn with(
            &self,
            meanwhile: impl FnOnce() -> Result<(), StoreError>,
        ) -> Result<String, StoreError> {
            let open = || {
                let number = self.opened.fetch_add(1, Ordering::Relaxed);
                Ok(Box::new(Numbered(number)) as Box<dyn ChangeReader>)
            };
            self.slot.with_reader(open, |reader| {
                meanwhile()?;
                Ok(reader.read(None)?.cursor().as_str().to_owned())
            })
        }

        fn read(&self) -> String {
            self.with(|| Ok(())).unwrap()
        }
    }

    // E7
    #[test]
    fn a_call_that_was_given_up_and_returns_later_does_not_disturb_the_one_that_replaced_it() {
        let store = Store::default();
        assert_eq!([store.read(), store.read()], ["0", "0"], "it is kept");
        let late = store.with(|| {
            // It hangs, and another thread takes over.
            assert_eq!([store.read(), store.read()], ["1", "1"]);
            Ok(())
        });
        assert!(late.is_err(), "it was given up");
        assert_eq!(store.read(), "1", "the late one took its place");
        let late = store.with(|| {
            assert_eq!(store.read(), "2");
            Err(StoreError::new("away"))
        });
        assert!(late.is_err());
        assert_eq!(store.read(), "2");
    }

    // E7
    #[test]
    fn one_that_fails_is_not_used_again() {
        let store = Store::default();
        assert_eq!(store.read(), "0");
        assert!(store.with(|| Err(StoreError::new("away"))).is_err());
        assert_eq!(store.read(), "1");
        let failed = store.slot.with_open_reader(|_| Err(StoreError::new("away")));
        assert!(failed.is_err());
        assert!(!store.slot.with_open_reader(|_| Ok(())).unwrap(), "there is none");
        assert_eq!(store.read(), "2");
        assert!(store.slot.with_open_reader(|_| Ok(())).unwrap());
    }
}
