//! Backup of the database to a single file while services are running.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, prelude::QueryableByName, sql_query,
    sql_types::Text,
};

use super::{
    Connection,
    connect::{create_for_owner, sqlite_uri},
};
use crate::{
    error::Error,
    store::{Database, connection::Missing, schema_check::check_tables},
};

/// Copies the database to a new file, in one transaction, and checks the copy.
///
/// The copy gets its final name when it is complete. The copy has no log, so its file contains all
/// data.
pub(crate) fn back_up(
    database: &Database,
    connection: &mut Connection,
    to: &Path,
) -> Result<(), Error> {
    let Some(name) = to.to_str() else {
        return Err(Error::invalid_input(
            "cannot back up the database: the name of the backup is not Unicode; choose another \
             name",
        ));
    };
    if fs::symlink_metadata(to).is_ok() {
        return Err(Error::conflict(format!(
            "cannot back up to {name}: the file exists and is not replaced; choose another name"
        )));
    }
    let unfinished = format!("{name}.part");
    let backup = Database::Sqlite(name.to_owned());
    let copied = copy(database, connection, &backup, &unfinished).and_then(|()| {
        give_name(&unfinished, to)
            .map_err(|source| Error::os(format!("cannot name the backup {name}"), source))
    });
    let _ = fs::remove_file(&unfinished);
    copied
}

/// Gives the finished file its final name. Fails if another file has taken that name since. On a
/// file system without hard links, an empty file reserves the name first.
fn give_name(unfinished: &str, to: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, to) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            File::create_new(to)?;
            fs::rename(unfinished, to).inspect_err(|_| {
                let _ = fs::remove_file(to);
            })
        }
        linked => linked,
    }
}

fn copy(
    database: &Database,
    connection: &mut Connection,
    backup: &Database,
    unfinished: &str,
) -> Result<(), Error> {
    // An earlier backup whose process was killed may have left this file.
    let _ = fs::remove_file(unfinished);
    create_for_owner(backup, unfinished)?;
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(unfinished)
        .execute(connection)
        .map_err(|source| Error::database(format!("cannot back up {database}"), source))?;
    check(backup, unfinished)?;
    File::open(unfinished)
        .and_then(|file| file.sync_all())
        .map_err(|source| Error::os(format!("cannot write {unfinished}"), source))
}

/// Opens the copy and checks all its data.
fn check(backup: &Database, file: &str) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Check {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::database(format!("the backup {backup} is unusable"), source)
    };
    let mut copy = SqliteConnection::establish(&sqlite_uri(file, Missing::Refuse))
        .map_err(|source| unusable(source.into()))?;
    let Check { integrity_check } = sql_query("PRAGMA integrity_check")
        .get_result(&mut copy)
        .map_err(|source| unusable(source.into()))?;
    if integrity_check != "ok" {
        return Err(unusable(integrity_check.into()));
    }
    check_tables(backup, &mut copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Neither linking nor renaming succeeds, because the finished file is missing.
    #[test]
    fn a_backup_that_cannot_be_named_leaves_no_file() {
        let folder = std::env::temp_dir().join(format!("api-key-backup-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let unfinished = folder.join("a.part");
        assert!(give_name(unfinished.to_str().unwrap(), &folder.join("a")).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
