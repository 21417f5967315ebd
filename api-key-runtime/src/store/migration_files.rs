//! The migrations as files, for applications whose own Diesel migrations they join.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// A kind of database that the tables come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseKind {
    /// Postgres 13 or newer.
    Postgres,
    /// SQLite 3.35 or newer.
    Sqlite,
}

struct Migration {
    folder: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migration {
    ($backend:literal, $folder:literal) => {
        Migration {
            folder: $folder,
            up: include_str!(concat!("../../migrations/", $backend, "/", $folder, "/up.sql")),
            down: include_str!(concat!("../../migrations/", $backend, "/", $folder, "/down.sql")),
        }
    };
}

const POSTGRES: [Migration; 2] = [
    migration!("postgres", "00000000000101_create_api_keys"),
    migration!("postgres", "00000000000102_log_api_key_changes"),
];
const SQLITE: [Migration; 2] = [
    migration!("sqlite", "00000000000101_create_api_keys"),
    migration!("sqlite", "00000000000102_log_api_key_changes"),
];

/// Writes the migrations into a folder of Diesel migrations, where the stock `diesel` command takes them over, and answers the folders
/// it made. They sort before an application's own, which may then refer to the tables.
///
/// Those that are there already, as they are, are left alone.
///
/// # Errors
/// When there is no such folder, a file in it that we would write differs from ours, or the file system refuses. Where a file differs,
/// nothing is written.
pub fn copy_migrations(directory: &Path, backend: DatabaseKind) -> Result<Vec<PathBuf>, Error> {
    if !directory.is_dir() {
        return Err(Error::invalid_input(format!(
            "there is no folder {}: name the folder of your Diesel migrations, usually `migrations`",
            directory.display()
        )));
    }
    let migrations: &[Migration] = match backend {
        DatabaseKind::Postgres => &POSTGRES,
        DatabaseKind::Sqlite => &SQLITE,
    };
    let mut missing = Vec::new();
    for migration in migrations {
        let folder = directory.join(migration.folder);
        for (name, text) in [("up.sql", migration.up), ("down.sql", migration.down)] {
            let path = folder.join(name);
            match fs::read_to_string(&path) {
                Ok(there) if there == text => {}
                Ok(_) => {
                    return Err(Error::conflict(format!(
                        "{} differs from the migration of this release, so nothing was written: a migration that has run must not change; \
                         move yours away if it never ran",
                        path.display()
                    )));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing.push((folder.clone(), path, text));
                }
                Err(error) => {
                    return Err(Error::os(format!("cannot read {}", path.display()), error));
                }
            }
        }
    }
    let mut made = Vec::new();
    for (folder, path, text) in missing {
        fs::create_dir_all(&folder)
            .and_then(|()| write_whole(&path, text))
            .map_err(|error| Error::os(format!("cannot write {}", path.display()), error))?;
        if !made.contains(&folder) {
            made.push(folder);
        }
    }
    Ok(made)
}

/// By another name first: a file that was cut short would look like one that somebody changed.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("sql.part");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_of_the_folders_is_copied() {
        for (backend, migrations) in [("postgres", &POSTGRES), ("sqlite", &SQLITE)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(backend);
            let mut names: Vec<String> = fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            assert_eq!(
                names,
                migrations.iter().map(|migration| migration.folder).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn copying_migrations_twice_never_overwrites_a_file() {
        let folder = std::env::temp_dir().join(format!("app-key-copy-{}", std::process::id()));
        assert!(
            copy_migrations(&folder, DatabaseKind::Sqlite).unwrap_err().is_invalid_input(),
            "a missing folder is not made"
        );
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(copy_migrations(&folder, DatabaseKind::Sqlite).unwrap().len(), 2);
        assert!(copy_migrations(&folder, DatabaseKind::Sqlite).unwrap().is_empty());
        let changed = folder.join(SQLITE[1].folder).join("down.sql");
        fs::write(&changed, "-- changed").unwrap();
        fs::remove_file(folder.join(SQLITE[0].folder).join("up.sql")).unwrap();
        assert!(copy_migrations(&folder, DatabaseKind::Sqlite).unwrap_err().is_conflict());
        assert_eq!(fs::read_to_string(&changed).unwrap(), "-- changed");
        assert!(
            !folder.join(SQLITE[0].folder).join("up.sql").exists(),
            "nothing is written where one differs"
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
