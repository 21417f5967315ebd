//! The identity of the files that a connection reads. If a file is replaced or deleted, an open
//! connection still reads the old file. That connection would accept keys that are revoked in the
//! new file.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use diesel::{RunQueryDsl as _, prelude::QueryableByName, sql_query, sql_types};

use super::{Connection, location::check_location};
use crate::{error::Error, lock::lock, store::Database};

/// The identity of a file, which distinguishes the file from its replacement at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    /// The time of creation, because file systems reuse the inode of a deleted file. `None` if the
    /// file system does not record this time.
    birth: Option<SystemTime>,
}

impl FileIdentity {
    /// Returns the identity of the file at this path, or `None` if there is no file.
    #[cfg(unix)]
    pub(crate) fn of(path: impl AsRef<Path>) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino(), birth: metadata.created().ok() })
    }

    /// Returns the same identity for every file. On systems other than Unix, an open file cannot be
    /// replaced or deleted.
    #[cfg(not(unix))]
    pub(crate) fn of(path: impl AsRef<Path>) -> Option<Self> {
        fs::metadata(path).ok().map(|_| Self { device: 0, inode: 0, birth: None })
    }
}

/// The identities of each database file and its write-ahead log when this process last opened them.
/// The map key is the path of the database file.
static LAST_OPEN: Mutex<Option<HashMap<PathBuf, (FileIdentity, FileIdentity)>>> = Mutex::new(None);

/// Checks a file and its location before the file is opened. Also returns an error if the file was
/// replaced but the write-ahead log of the old file remained. SQLite would write the old file's
/// changes into the new file. A replaced file is detected only if this process has opened the old
/// file.
pub(super) fn check_files(database: &Database, path: &str) -> Result<(), Error> {
    let Ok(path) = fs::canonicalize(path) else { return Ok(()) };
    let last = lock(&LAST_OPEN).as_ref().and_then(|open| open.get(&path)).copied();
    check_location(database, &path)?;
    let Some((file, log)) = last else { return Ok(()) };
    let log_path = beside(path.as_os_str(), "-wal");
    let is_empty = fs::metadata(&log_path).is_ok_and(|log| log.len() == 0);
    if FileIdentity::of(&path) == Some(file) || FileIdentity::of(&log_path) != Some(log) || is_empty
    {
        return Ok(());
    }
    Err(Error::database(
        format!(
            "cannot open {database}: the file was replaced while its log {} stayed, which belongs \
             to the old file",
            log_path.display()
        ),
        "stop every program that uses the file, remove the -wal and -shm files beside it, and \
         start again. See the guide's chapter on backups for how to replace a file in use",
    ))
}

fn beside(path: &std::ffi::OsStr, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// The files that a connection has open: the database, its write-ahead log and the index of that
/// log. While any connection is open, SQLite keeps the log and its index. If another program
/// removes them, for example to restore a backup, the connection keeps reading a log that other
/// programs no longer write to.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    path: String,
    database: Option<FileIdentity>,
    logs: [(PathBuf, Option<FileIdentity>); 2],
}

impl OpenFiles {
    /// Returns the files of a connection that has read from the database. `named_before` is the
    /// file at the path before the connection was opened. If another file has replaced that file
    /// since, the connection does not count as current.
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
        // SQLite returns the target of a symbolic link, and the logs are beside the target.
        let File { file } = sql_query("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .get_result(connection)
            .map_err(|source| Error::database(format!("cannot read {database}"), source))?;
        let logs = ["-wal", "-shm"].map(|suffix| {
            let log = beside(file.as_ref(), suffix);
            let identity = FileIdentity::of(&log);
            (log, identity)
        });
        if let (Some(opened), Some(log), Ok(file)) =
            (named_before, logs[0].1, fs::canonicalize(file))
        {
            lock(&LAST_OPEN).get_or_insert_default().insert(file, (opened, log));
        }
        Ok(Self { path: path.to_owned(), database: named_before, logs })
    }

    /// Returns whether the paths still name these files.
    pub(crate) fn are_current(&self) -> bool {
        self.has_database() && self.have_logs()
    }

    /// Returns whether the path still names this database.
    pub(super) fn has_database(&self) -> bool {
        self.database.is_some() && FileIdentity::of(&self.path) == self.database
    }

    fn have_logs(&self) -> bool {
        self.logs.iter().all(|(path, identity)| FileIdentity::of(path) == *identity)
    }
}

/// Writes the identity as part of a position in the change log.
impl fmt::Display for FileIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}.{:x}", self.device, self.inode)?;
        match self.birth.and_then(|birth| birth.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            Some(birth) => write!(formatter, ".{:x}", birth.as_nanos()),
            None => Ok(()),
        }
    }
}

/// Writes the files as part of a position in the change log.
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
