//! The change feed of the Diesel store. The feed has one connection, which is opened at the first
//! read and replaced when it must no longer be used.

use std::{sync::Arc, time::Duration};

use super::{ChangeFeed, Changes, StoreError, diesel_store::Shared, read_server::FeedNumber};

/// A reader of changes for one kind of database. The reader is dropped after an error.
pub(super) trait ChangeReader: Send {
    /// Returns `false` if the reader has an SQLite file open that was replaced or deleted.
    fn is_current(&self) -> bool {
        true
    }

    /// Returns the changes since the last read, or "everything" at the first read. Also returns the
    /// number of the server that was read, or `None` for SQLite, which has no servers.
    fn read(&mut self) -> Result<(Option<i64>, Changes), StoreError>;

    /// Waits like [`ChangeFeed::wait`].
    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError>;
}

pub(super) struct DieselFeed {
    shared: Arc<Shared>,
    open: Option<OpenReader>,
}

struct OpenReader {
    shared: Arc<Shared>,
    number: FeedNumber,
    reader: Box<dyn ChangeReader>,
}

impl DieselFeed {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: None }
    }

    /// Returns a usable reader. Opens a new reader if necessary.
    fn connected(&mut self) -> Result<&mut OpenReader, StoreError> {
        // The old reader is closed before a new reader is opened. A connection to a replaced file
        // may hold locks that block connections to the new file.
        let open = match self.open.take().filter(OpenReader::is_usable) {
            Some(open) => open,
            None => OpenReader::open(&self.shared)?,
        };
        Ok(self.open.insert(open))
    }
}

impl ChangeFeed for DieselFeed {
    fn changes(&mut self) -> Result<Changes, StoreError> {
        let result = self.connected()?.read();
        self.open.take_if(|_| result.is_err());
        result
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        // Lookups close idle connections too. Without lookups, only this call does.
        self.shared.close_idle();
        // Without a reader, the wait ends at once, and the next read opens a reader.
        let result = self.open.as_mut().map_or(Ok(()), |open| open.reader.wait(at_most));
        self.open.take_if(|_| result.is_err());
        result
    }
}

impl OpenReader {
    pub(super) fn open(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let number = shared.read_server.open();
        Ok(Self { shared: Arc::clone(shared), number, reader: shared.open_reader()? })
    }

    fn is_usable(&self) -> bool {
        !self.shared.read_server.must_reopen(self.number) && self.reader.is_current()
    }

    fn read(&mut self) -> Result<Changes, StoreError> {
        let (server, changes) = self.reader.read()?;
        self.shared.read_server.record(self.number, server)?;
        Ok(changes)
    }
}

impl Drop for OpenReader {
    fn drop(&mut self) {
        self.shared.read_server.close(self.number);
    }
}
