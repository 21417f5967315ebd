//! Which files a connection reads: it goes on reading one that was replaced or deleted, and would let in whom it let in.

use std::{ffi::OsString, fmt, fs, path::Path};

use diesel::{RunQueryDsl as _, prelude::QueryableByName, sql_query, sql_types};

use super::Connection;
use crate::{error::Error, store::Database};

/// What tells one file from another at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Of the file at this path; none where there is none.
    #[cfg(unix)]
    pub(crate) fn of(path: impl AsRef<Path>) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path)
            .ok()
            .map(|metadata| Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Elsewhere an open file can be neither replaced nor deleted.
    #[cfg(not(unix))]
    pub(crate) fn of(path: impl AsRef<Path>) -> Option<Self> {
        fs::metadata(path).ok().map(|_| Self { device: 0, inode: 0 })
    }
}

/// The files that a connection has open: the database, and the write-ahead log and its index beside it. The latter two stay the same
/// for as long as any connection is open; whoever removes them all the same, as with a restored backup, leaves the connection behind with
/// a log that nobody else writes to.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    path: String,
    database: Option<FileIdentity>,
    logs: [(OsString, Option<FileIdentity>); 2],
}

impl OpenFiles {
    /// Of a connection that has read from the database. Which file the path named is told from before it was opened: should it have been
    /// replaced meanwhile, the connection does not count as current.
    pub(crate) fn new(
        database: &Database,
        connection: &mut Connection,
        path: &str,
        named_before: Option<FileIdentity>,
    ) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct File {
            #[diesel(sql_type = sql_types::Text)]
            file: String,
        }
        // Behind symbolic links, the logs stand beside the file itself.
        let File { file } = sql_query("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .get_result(connection)
            .map_err(|source| Error::database(format!("cannot read {database}"), source))?;
        let logs = ["-wal", "-shm"].map(|suffix| {
            let log = OsString::from(format!("{file}{suffix}"));
            let identity = FileIdentity::of(&log);
            (log, identity)
        });
        Ok(Self { path: path.to_owned(), database: named_before, logs })
    }

    /// Whether the paths still name these files.
    pub(crate) fn are_current(&self) -> bool {
        self.database.is_some()
            && FileIdentity::of(&self.path) == self.database
            && self.logs.iter().all(|(path, identity)| FileIdentity::of(path) == *identity)
    }
}

/// As part of a position in the change log.
impl fmt::Display for FileIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}.{:x}", self.device, self.inode)
    }
}

/// As part of a position in the change log.
impl fmt::Display for OpenFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logs = self.logs.iter().map(|(_, log)| *log);
        for (position, file) in [self.database].into_iter().chain(logs).enumerate() {
            if position > 0 {
                formatter.write_str("/")?;
            }
            match file {
                Some(file) => fmt::Display::fmt(&file, formatter)?,
                None => formatter.write_str("-")?,
            }
        }
        Ok(())
    }
}
