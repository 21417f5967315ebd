//! Tests of the stores' change feeds. A read reports every change since the last read, no matter
//! which program made the change.

mod everyone;
mod model;
mod moved;
mod postgres;
mod restarts;
mod servers;
mod sqlite;
mod switched;

use std::time::Duration;

use api_key_runtime::store::{ChangeFeed, Changed, DieselStore, KeyStore as _, StoreError};

use crate::support::{Database, hex};

/// The changes that a read reported.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Everything,
    /// Distinct digests in hexadecimal, sorted.
    Keys(Vec<String>),
}

fn nothing() -> Seen {
    Seen::Keys(Vec::new())
}

fn keys<'a>(digests: impl IntoIterator<Item = &'a String>) -> Seen {
    let mut digests: Vec<String> = digests.into_iter().cloned().collect();
    digests.sort();
    digests.dedup();
    Seen::Keys(digests)
}

/// A reader of a store's changes.
struct Reader {
    store: DieselStore,
    /// The open feed, or `None` after an error, as in the library.
    feed: Option<Box<dyn ChangeFeed>>,
}

impl Reader {
    /// Returns a reader that is up to date.
    fn new(database: &Database) -> Self {
        Self::at(database.url())
    }

    fn at(url: &str) -> Self {
        let mut reader = Self { store: DieselStore::open(url).unwrap(), feed: None };
        assert_eq!(reader.read(), Seen::Everything, "the first read");
        reader
    }

    fn read(&mut self) -> Seen {
        self.try_read().unwrap()
    }

    fn try_read(&mut self) -> Result<Seen, StoreError> {
        let mut feed = match self.feed.take() {
            Some(feed) => feed,
            None => self.store.watch()?.unwrap(),
        };
        let changes = feed.changes()?;
        self.feed = Some(feed);
        Ok(match changes.changed {
            Changed::Everything => Seen::Everything,
            Changed::Keys(digests) => {
                let hex: Vec<String> =
                    digests.iter().map(|digest| hex(digest.as_bytes())).collect();
                keys(&hex)
            }
            unexpected => panic!("{unexpected:?}"),
        })
    }

    /// Waits for a change, as the library does between two reads.
    fn wait(&mut self, at_most: Duration) {
        self.feed.take_if(|feed| feed.wait(at_most).is_err());
    }
}

/// Inserts a key by SQL and returns its digest in hexadecimal.
fn insert(database: &Database, number: u32) -> String {
    let digest = format!("{number:064x}");
    database.execute(&insertion(database, &digest)).unwrap();
    digest
}

fn insertion(database: &Database, digest: &str) -> String {
    format!(
        "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) VALUES ({}, 'sha256', 'h', 'n', '0.0.0.0')",
        database.literal(digest)
    )
}
