//! Opens connections to an SQLite file with the settings that key lookups need.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};

use super::file::check_files;
use crate::{
    error::Error,
    foreign_texts::{is_sqlite_lock, is_sqlite_read_only},
    log,
    store::{Database, connection::Missing},
};

/// How long a statement waits for other writers. If other connections open the same new file,
/// opening that file also waits up to this time.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of each connection. With `FULL`, an acknowledged revocation survives a power
/// failure. With `recursive_triggers`, REPLACE fires delete triggers.
const SETTINGS: &str = "\
    PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; \
    PRAGMA recursive_triggers = ON;";

/// Opens the file at this path.
pub(crate) fn connect(
    database: &Database,
    path: &str,
    missing: Missing,
) -> Result<SqliteConnection, Error> {
    if missing == Missing::Refuse && !Path::new(path).exists() {
        return Err(Error::schema(format!(
            "cannot open {database}: the file does not exist; create it with `app-key migrate`, or \
             correct the path in DATABASE_URL"
        )));
    }
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::database(format!("cannot open {database}"), source)
    };
    if missing == Missing::Create {
        create_for_owner(database, path)?;
    }
    check_files(database, path)?;
    let mut connection = SqliteConnection::establish(&sqlite_uri(path, missing))
        .map_err(|source| unusable(source.into()))?;
    apply_settings(&mut connection).map_err(|source| {
        if is_sqlite_read_only(&source) {
            read_only(database, source)
        } else {
            unusable(source.into())
        }
    })?;
    Ok(connection)
}

fn read_only(database: &Database, source: diesel::result::Error) -> Error {
    Error::database(
        format!(
            "cannot write to {database} or create files beside it (give this user write permission \
             for the file and its folder, where SQLite keeps the -wal and -shm files)"
        ),
        source,
    )
}

/// Creates a missing file with a mode that allows only its owner to read or write. The file
/// contains names and addresses, and anyone who can read an SQLite file can lock it. SQLite gives
/// its log files the mode of the database. An existing file keeps its mode.
///
/// The file is created under another name and closed before it gets its final name. If this process
/// closed a file that SQLite has open, SQLite's locks on that file would be lost
/// (<https://sqlite.org/howtocorrupt.html>, section 2.2).
pub(super) fn create_for_owner(database: &Database, path: &str) -> Result<(), Error> {
    if Path::new(path).exists() {
        return Ok(());
    }
    let path = &behind_links(path);
    // The name contains a random number, because processes in containers may have the same process
    // id.
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(Error::entropy)?;
    let mut unnamed = path.clone().into_os_string();
    unnamed.push(format!(".new-{:016x}", u64::from_le_bytes(number)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&unnamed)
        .map(drop)
        .map_err(|source| Error::database(format!("cannot create {database}"), source))?;
    // Another process may have created the file by now. On a file system without hard links, SQLite
    // creates the file later, with the default mode.
    if let Err(error) = fs::hard_link(&unnamed, path)
        && error.kind() != ErrorKind::AlreadyExists
    {
        log::warn!("cannot restrict {database} to its owner: {error}; check the mode of the file");
    }
    fs::remove_file(&unnamed)
        .map_err(|source| Error::database(format!("cannot remove {}", unnamed.display()), source))
}

/// Returns the path that symbolic links lead to, even if no file exists there. Follows at most 40
/// links, as Linux does.
fn behind_links(path: &str) -> PathBuf {
    let mut path = PathBuf::from(path);
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { break };
        path.pop();
        path.push(target);
    }
    path
}

/// Applies the settings. Retries while other connections open the same new file. SQLite lets one
/// connection switch the file to WAL mode, and returns an error to the other connections at once.
fn apply_settings(connection: &mut SqliteConnection) -> diesel::QueryResult<()> {
    let until = Instant::now() + BUSY_TIMEOUT;
    // The busy timeout is set first, so that the other settings wait for a writer.
    let settings = format!("PRAGMA busy_timeout = {}; {SETTINGS}", BUSY_TIMEOUT.as_millis());
    loop {
        match connection.batch_execute(&settings) {
            Err(error) if is_sqlite_lock(&error) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Returns a URI for the path. With a plain path, SQLite would create a missing file.
pub(super) fn sqlite_uri(path: &str, missing: Missing) -> String {
    let mode = if missing == Missing::Create { "rwc" } else { "rw" };
    let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // An absolute path needs an empty authority. Otherwise SQLite could take the beginning of the
    // path for an authority.
    let authority = if path.starts_with('/') { "//" } else { "" };
    format!("file:{authority}{path}?mode={mode}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{open, open_or};

    #[test]
    fn many_may_open_a_new_file_at_once() {
        let folder = std::env::temp_dir().join(format!("app-key-{}-at-once", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for round in 0..20 {
            let path = folder.join(format!("{round}.db"));
            let database = Database::Sqlite(path.to_str().unwrap().to_owned());
            thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        open_or(&database, Missing::Create).map(drop).unwrap();
                    });
                }
            });
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    // E13, F10
    #[test]
    fn sqlite_connections_get_the_required_pragmas() {
        use diesel::{RunQueryDsl as _, sql_query, sql_types};
        #[derive(diesel::QueryableByName)]
        struct Setting {
            #[diesel(sql_type = sql_types::Text)]
            value: String,
        }
        let folder = std::env::temp_dir().join(format!("app-key-{}-settings", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let database = Database::Sqlite(folder.join("keys.db").to_str().unwrap().to_owned());
        for missing in [Missing::Create, Missing::Refuse] {
            let path = folder.join("keys.db");
            let mut connection = connect(&database, path.to_str().unwrap(), missing).unwrap();
            for (pragma, column, expected) in [
                ("busy_timeout", "timeout", "5000"),
                ("journal_mode", "journal_mode", "wal"),
                ("synchronous", "synchronous", "2"),
                ("foreign_keys", "foreign_keys", "1"),
                ("recursive_triggers", "recursive_triggers", "1"),
            ] {
                let query = format!("SELECT CAST({column} AS TEXT) AS value FROM pragma_{pragma}");
                let setting: Setting = sql_query(query).get_result(&mut connection).unwrap();
                assert_eq!(setting.value, expected, "{pragma}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    // G1
    #[cfg(unix)]
    #[test]
    fn a_new_file_is_its_owner_s_alone_and_an_existing_one_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("app-key-{}-mode", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = folder.join("keys.db");
        let database = Database::Sqlite(path.to_str().unwrap().to_owned());
        let mut open = connect(&database, path.to_str().unwrap(), Missing::Create).unwrap();
        open.batch_execute("CREATE TABLE cakes (name TEXT)").unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let file = folder.join(format!("keys.db{suffix}"));
            assert_eq!(mode(&file), 0o600, "{suffix}");
        }
        drop(open);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        open_or(&database, Missing::Create).map(drop).unwrap();
        assert_eq!(mode(&path), 0o640);
        // SQLite creates the file that a link leads to.
        std::os::unix::fs::symlink("linked.db", folder.join("link.db")).unwrap();
        let link = Database::Sqlite(folder.join("link.db").to_str().unwrap().to_owned());
        open_or(&link, Missing::Create).map(drop).unwrap();
        assert_eq!(mode(&folder.join("linked.db")), 0o600);
        std::os::unix::fs::symlink("loop.db", folder.join("loop.db")).unwrap();
        let link = Database::Sqlite(folder.join("loop.db").to_str().unwrap().to_owned());
        assert!(open_or(&link, Missing::Create).is_err());
        let nowhere = Database::Sqlite(folder.join("none/keys.db").to_str().unwrap().to_owned());
        let error = open_or(&nowhere, Missing::Create).err().unwrap().to_string();
        assert!(error.contains("No such file or directory"), "{error}");
        let left: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("new")), "{left:?}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_path_with_the_characters_of_a_uri_names_that_file() {
        let folder =
            std::env::temp_dir().join(format!("app-key-{}-50% off? #1", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keys.db");
        let database = Database::Sqlite(path.to_str().unwrap().to_owned());
        assert!(open(&database).err().unwrap().is_schema(), "a missing file is not created");
        assert!(!path.exists());
        open_or(&database, Missing::Create).map(drop).unwrap();
        assert!(path.exists());
        open(&database).map(drop).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
