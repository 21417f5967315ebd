//! Tests of keys and change logs on Postgres that are pruned, dumped, restored or replicated.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use diesel::connection::SimpleConnection as _;

use super::{
    Reader, Seen, insert, insertion, keys, nothing,
    postgres::{change, migrated, session},
};
use crate::support::{Database, OwnServer, hex, servers::postgres::program};

/// Prunes at most `most` rows of the log, as if the prune position had been recorded this many
/// hours ago.
fn prune(database: &Database, hours: u32, most: u32) -> String {
    database
        .execute(&format!(
            "UPDATE api_key_meta SET prune_at = now() - interval '{hours} hours' - interval '1 minute'"
        ))
        .unwrap();
    database.texts(&format!("SELECT cast(api_keys_prune_v1({most}) AS text)")).remove(0)
}

// E7
#[test]
fn pruning_keeps_an_hour_and_every_reader_exact() {
    // The test has its own server, because open transactions in other databases of a server delay
    // pruning.
    let server = OwnServer::start();
    let database = server.database();
    database.migrate();
    let digests: Vec<String> = (1..=5).map(|number| insert(&database, number)).collect();
    let rows = || database.texts("SELECT cast(count(*) AS text) FROM api_key_changes").remove(0);
    let (mut away, mut current) = (Reader::new(&database), Reader::new(&database));
    database.texts("SELECT cast(api_keys_prune_v1(1000) AS text)");
    for digest in &digests {
        database.execute(&change(&database, digest)).unwrap();
    }
    assert_eq!(database.texts("SELECT cast(api_keys_prune_v1(1000) AS text)"), ["0"], "too early");
    assert_eq!(rows(), "11");
    // The position was recorded before the changes above. Pruning may remove only rows before that
    // position, and keeps the newest of these rows.
    assert_eq!(prune(&database, 1, 2), "2", "a batch");
    assert_eq!(prune(&database, 1, 1000), "3");
    assert_eq!(rows(), "6");
    assert_eq!(current.read(), keys(&digests), "no unread row was pruned");
    assert_eq!(prune(&database, 1, 1000), "5", "the previous call recorded a new position");
    assert_eq!(rows(), "1", "the floor");
    assert_eq!(current.read(), nothing());
    assert_eq!(away.read(), Seen::Everything, "a reader that was disconnected longer");
    assert_eq!(away.read(), nothing());
    assert_eq!(prune(&database, 3, 1000), "0", "an old position is first recorded again");
}

// E7
// The floor is a row older than the reader's last snapshot. If the floor is missing, another
// program may have deleted rows that were not read yet.
#[test]
fn a_log_without_a_floor_means_everything_changed() {
    let server = OwnServer::start();
    let database = server.database();
    database.migrate();
    let digest = insert(&database, 1);
    let mut reader = Reader::new(&database);
    database.execute(&change(&database, &digest)).unwrap();
    database.execute("DELETE FROM api_key_changes").unwrap();
    assert_eq!(reader.read(), Seen::Everything);
    database.texts("SELECT cast(api_keys_prune_v1(1000) AS text)");
    assert_eq!(reader.read(), Seen::Everything, "the floor is above the last snapshot");
    database.execute(&change(&database, &digest)).unwrap();
    assert_eq!(reader.read(), keys([&digest]));
}

/// Loads the output of `pg_dump` with these options from one database into another.
pub(super) fn dump_into(from: &Database, to: &Database, options: &[&str]) {
    let dump = Command::new(program("pg_dump"))
        .args(options)
        .args(["--no-owner", "--dbname", from.url()])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let mut restore = Command::new(program("psql"))
        .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", to.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    restore.stdin.take().unwrap().write_all(&dump.stdout).unwrap();
    assert!(restore.wait().unwrap().success());
}

// E17, F14
#[test]
fn restored_keys_can_be_revoked_at_once_and_none_is_lost() {
    let source = migrated();
    let issued: Vec<(String, i64)> = (0..3).map(|_| source.issue("0.0.0.0")).collect();
    source.admin().disable(issued[2].1).unwrap();
    // The target has its own list of migrations, so a data-only dump leaves out that table.
    let data_only = ["--data-only", "--exclude-table=__diesel_schema_migrations"];
    for options in [&data_only[..], &[]] {
        let target = Database::postgres();
        if options == data_only {
            target.migrate();
        }
        dump_into(&source, &target, options);
        assert_eq!(target.rows(), source.rows(), "{options:?}");
        let mut reader = Reader::new(&target);
        let revoked = target.admin().revoke(issued[0].1).unwrap();
        assert_eq!(reader.read(), keys([&hex(revoked.digest.as_bytes())]), "{options:?}");
        let (_, id) = target.issue("0.0.0.0");
        assert_eq!(id, 4, "{options:?}");
    }
}

// E17, F14
#[test]
fn a_new_key_gets_an_id_that_no_replicated_key_has() {
    let database = migrated();
    let arrived = |id: i64| {
        let digest = database.literal(&format!("{id:064x}"));
        database
            .execute(&format!(
                "INSERT INTO api_keys (id, digest, digest_algorithm, hint, name, allowed_ips) \
                 OVERRIDING SYSTEM VALUE VALUES ({id}, {digest}, 'sha256', 'h', 'n', '0.0.0.0')"
            ))
            .unwrap();
    };
    for id in [1, 2, 4, 1_000_000, i64::MAX] {
        arrived(id);
    }
    let issued = [(); 3].map(|()| database.issue("0.0.0.0").1);
    assert_eq!(issued, [3, 5, 6], "distant ids belong to another server");
    database.execute("ALTER TABLE api_keys ALTER COLUMN id SET INCREMENT 2 RESTART 11").unwrap();
    for id in [11, 12, 13, 16] {
        arrived(id);
    }
    assert_eq!([(); 2].map(|()| database.issue("0.0.0.0").1), [15, 17]);
}

// E6, E17
// Logical replication and some restore tools set `session_replication_role` to `replica`.
#[test]
fn changes_in_a_replica_session_are_reported() {
    let database = migrated();
    let digest = insert(&database, 1);
    let mut reader = Reader::new(&database);
    let mut replica = session(&database);
    replica.batch_execute("SET session_replication_role = replica").unwrap();
    replica.batch_execute(&change(&database, &digest)).unwrap();
    assert_eq!(reader.read(), keys([&digest]), "an update");
    let other = format!("{:064x}", 2);
    replica.batch_execute(&insertion(&database, &other)).unwrap();
    assert_eq!(reader.read(), keys([&other]), "an insert");
    replica.batch_execute("DELETE FROM api_keys WHERE id = 1").unwrap();
    assert_eq!(reader.read(), keys([&digest]), "a delete");
    replica.batch_execute("TRUNCATE api_keys CASCADE").unwrap();
    assert_eq!(reader.read(), Seen::Everything, "a truncate");
    assert_eq!(reader.read(), nothing());
}
