//! `app-key backup`, and restoring a backup by the instructions of the guide.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::app_key;
use crate::support::{Database, Server, TEST_TIMEOUT, guarded_routes, http};

fn status(server: &Server, key: &str) -> u16 {
    http::get_with(server.address, "/guarded", key).status
}

// F10
#[test]
fn a_backup_beside_a_service_is_one_whole_file() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), guarded_routes);
    let (key, _) = database.issue("0.0.0.0");
    let (_, revoked) = database.issue("0.0.0.0");
    database.admin().revoke(revoked).unwrap();
    let folder = Database::sqlite();
    let file = format!("{}.backup", folder.url());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(status(&server, &key), 200);
                database.issue("0.0.0.0");
            }
        });
        app_key(&database, &format!("backup {file}")).succeeded();
        stop.store(true, Ordering::Relaxed);
    });
    for log in ["-wal", "-shm", ".part"] {
        assert!(!fs::exists(format!("{file}{log}")).unwrap(), "{log}");
    }
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions())
            & 0o777,
        0o600
    );
    let again = app_key(&database, &format!("backup {file}"));
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("exists and is not replaced"), "{again:?}");
    fs::rename(&file, folder.url()).unwrap();
    let server = Server::start(folder.builder().build().unwrap(), guarded_routes);
    assert_eq!(status(&server, &key), 200);
    let found = folder.texts("SELECT CAST(id AS TEXT) FROM api_keys WHERE revoked_at IS NOT NULL");
    assert_eq!(found, [revoked.to_string()]);
}

// F10
#[test]
fn a_backup_of_postgres_is_an_error() {
    let database = Database::postgres();
    app_key(&database, "migrate").succeeded();
    let refused = app_key(&database, "backup keys.db");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("pg_dump"), "{refused:?}");
}

// F10
// The steps of the guide: stop the service, remove the files `-wal` and `-shm`, move the backup
// over the file, and start the service.
#[test]
fn a_backup_is_restored_while_the_service_is_stopped() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, id) = database.issue("0.0.0.0");
    let file = format!("{}.backup", database.url());
    app_key(&database, &format!("backup {file}")).succeeded();
    let (lost, _) = database.issue("0.0.0.0");
    let server = Server::start(keys.clone(), guarded_routes);
    assert_eq!(status(&server, &lost), 200);
    drop(server);
    keys.close(TEST_TIMEOUT).unwrap();
    for log in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{log}", database.url()));
    }
    fs::rename(file, database.url()).unwrap();
    let server = Server::start(database.builder().build().unwrap(), guarded_routes);
    assert_eq!(status(&server, &key), 200);
    assert_eq!(status(&server, &lost), 401);
    app_key(&database, &format!("revoke {id} --yes")).succeeded();
    assert_eq!(app_key(&database, "list").code, Some(0));
}
