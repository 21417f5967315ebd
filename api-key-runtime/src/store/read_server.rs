//! The server from which changes were last read. Keys must not be looked up on another server.

use std::sync::Mutex;

use super::StoreError;
use crate::lock::lock;

/// The number of a connection for changes. Each new connection has a higher number than the
/// connections before it.
pub(super) type FeedNumber = u64;

/// The server from which changes were last read. All feeds and lookups of a store share this value.
///
/// If a read over a hung connection completes after a new connection was opened, its result counts
/// only if the new connection has read the same server.
#[derive(Debug, Default)]
pub(super) struct ReadServer(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the connection that was opened last.
    opened: FeedNumber,
    /// Connections with a lower number must be replaced, because lookups may have used another
    /// server. The new connection starts with "everything".
    valid_from: FeedNumber,
    /// The last completed read. `None` before the first read, and after the newest connection was
    /// closed.
    last_read: Option<LastRead>,
}

#[derive(Debug)]
struct LastRead {
    /// The number of the server, or `None` for SQLite, which has no servers.
    server: Option<i64>,
    by: FeedNumber,
}

impl ReadServer {
    /// Returns the number of a connection that is about to be opened.
    pub(super) fn open(&self) -> FeedNumber {
        let mut state = lock(&self.0);
        state.opened = state.opened.saturating_add(1);
        state.opened
    }

    /// Returns whether this connection must be replaced.
    pub(super) fn must_reopen(&self, number: FeedNumber) -> bool {
        number < lock(&self.0).valid_from
    }

    /// Records a completed read of this server.
    ///
    /// # Errors
    /// Returns an error if the result must not be used. Either the connection was given up during
    /// the read, or a newer connection was opened and has not read the same server.
    pub(super) fn record(&self, number: FeedNumber, server: Option<i64>) -> Result<(), StoreError> {
        let mut state = lock(&self.0);
        let is_newest = number == state.opened;
        let is_same = state.last_read.as_ref().map(|last| last.server == server);
        if number < state.valid_from || (!is_newest && is_same != Some(true)) {
            return Err(StoreError::new(
                "the change feed's connection was replaced during the read",
            ));
        }
        if is_same == Some(false) {
            state.valid_from = number;
        }
        let by = state.last_read.as_ref().map_or(number, |last| last.by.max(number));
        state.last_read = Some(LastRead { server, by });
        Ok(())
    }

    /// Records that this connection was closed. After the newest connection is closed, keys may be
    /// looked up on any server, because the next connection starts with "everything".
    pub(super) fn close(&self, number: FeedNumber) {
        let mut state = lock(&self.0);
        if number == state.opened && number >= state.valid_from {
            state.last_read = None;
            state.valid_from = number.saturating_add(1);
        }
    }

    /// Returns whether changes were last read from this server. Returns `true` if no server is
    /// recorded, because there is nothing to compare with.
    pub(super) fn reads(&self, server: i64) -> bool {
        let state = lock(&self.0);
        let read = state.last_read.as_ref().and_then(|last| last.server);
        read.is_none_or(|read| read == server)
    }

    /// Gives up the connections for changes if they read a server other than `server`. The next
    /// read then opens a new connection. Keeps the newest connection if it has not completed its
    /// first read.
    pub(super) fn give_up_other_than(&self, server: i64) {
        let mut state = lock(&self.0);
        let is_other = |last: &LastRead| {
            last.server.is_some_and(|read| read != server) && last.by == state.opened
        };
        if state.last_read.as_ref().is_some_and(is_other) {
            state.valid_from = state.opened.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // E7
    #[test]
    fn an_abandoned_connection_that_returns_late_changes_nothing() {
        let server = ReadServer::default();
        let hung = server.open();
        server.record(hung, Some(1)).unwrap();
        let newer = server.open();
        assert!(server.record(hung, Some(2)).is_err(), "read another server");
        server.record(newer, Some(3)).unwrap();
        assert!(server.record(hung, Some(1)).is_err());
        server.close(hung);
        assert!(server.reads(3) && !server.reads(1) && !server.must_reopen(newer));
        server.record(newer, Some(3)).unwrap();
    }

    // E7
    #[test]
    fn a_first_read_that_hung_is_not_recorded() {
        let server = ReadServer::default();
        let hung = server.open();
        let newer = server.open();
        assert!(server.record(hung, Some(1)).is_err());
        server.close(hung);
        assert!(server.reads(2), "nothing was read");
        server.record(newer, Some(2)).unwrap();
    }

    // E7
    #[test]
    fn a_closed_connection_allows_any_server_until_the_next_read() {
        let server = ReadServer::default();
        let first = server.open();
        server.record(first, Some(1)).unwrap();
        server.close(first);
        assert!(server.reads(2) && server.must_reopen(first));
        assert!(server.record(first, Some(1)).is_err());
        let next = server.open();
        server.record(next, Some(2)).unwrap();
        assert!(!server.reads(1));
    }

    // E7
    #[test]
    fn a_lookup_on_another_server_closes_the_connection() {
        let server = ReadServer::default();
        let first = server.open();
        server.record(first, Some(1)).unwrap();
        server.give_up_other_than(1);
        assert!(!server.must_reopen(first));
        server.give_up_other_than(2);
        assert!(server.must_reopen(first) && server.record(first, Some(1)).is_err());
        server.close(first);
        assert!(!server.reads(2), "only the next read shows which server is right");
        let next = server.open();
        server.give_up_other_than(2);
        assert!(!server.must_reopen(next), "it has not read yet");
        server.record(next, Some(2)).unwrap();
        assert!(server.reads(2));
    }

    // E7
    #[test]
    fn two_feeds_of_one_store_agree_on_the_server() {
        let server = ReadServer::default();
        let (one, other) = (server.open(), server.open());
        server.record(other, Some(1)).unwrap();
        server.record(one, Some(1)).unwrap();
        server.record(other, Some(2)).unwrap();
        assert!(server.must_reopen(one) && !server.must_reopen(other));
        let one = server.open();
        server.record(one, Some(2)).unwrap();
        server.record(other, Some(2)).unwrap();
        server.close(one);
        assert!(server.must_reopen(other), "lookups may use any server now");
    }
}
