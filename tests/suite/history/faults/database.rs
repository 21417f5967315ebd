//! Databases that freeze, crash, restart or become unavailable, and changes of all keys at once.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        place::Place,
        sql::{End, Sql},
    },
    Breaker,
};
use crate::support::OwnServer;

/// The number of additional keys, more than the change log lists for one statement.
pub(in super::super) const FILLERS: usize = 100;

/// Statements that prune as a server does when the recorded pruning position is more than an hour
/// old. The newest row below that position stays, so the first statement adds a row for a key that
/// no client presents. The statements have a lock timeout, because a server may be paused inside
/// its own pruning transaction.
const PRUNE_TABLE: [&str; 3] = [
    "SET lock_timeout = 100; UPDATE api_keys SET name = 'pruned' WHERE id = 1",
    "SET lock_timeout = 100; UPDATE api_key_meta SET prune_at = clock_timestamp() - interval '90 minutes'",
    "SELECT api_keys_prune_v1(1000)",
];
/// A statement that prunes the log of an SQLite file. The library never prunes this log, but an
/// operator may.
const PRUNE_FILE: &str =
    "DELETE FROM api_key_changes WHERE seq < (SELECT max(seq) FROM api_key_changes)";
const PRUNE_INTERVAL: Duration = Duration::from_millis(20);

const END_CONNECTIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[derive(Clone, Copy)]
enum Fault {
    ChangeAll,
    Postgres(fn(&OwnServer, &str, Duration), &'static str),
    Sqlite(fn(&Path, Duration), &'static str),
}

const POSTGRES: [Fault; 6] = [
    Fault::ChangeAll,
    Fault::Postgres(freeze, "the database server was frozen"),
    Fault::Postgres(freeze, "the database server was frozen"),
    Fault::Postgres(crash, "the database server crashed"),
    Fault::Postgres(restart, "the database server was shut down and started"),
    Fault::Postgres(end_connections, "the database server ended every connection"),
];
const SQLITE: [Fault; 4] = [
    Fault::ChangeAll,
    Fault::Sqlite(hold, "another process held the file for writing"),
    Fault::Sqlite(fold, "the write-ahead log was checkpointed and truncated"),
    Fault::Sqlite(take_away, "the folder of the file was moved away"),
];

pub(in super::super) fn break_database(mut breaker: Breaker<'_>, place: &Place, stop: &AtomicBool) {
    let all: &[Fault] = match place.own_server() {
        Some(_) => &POSTGRES,
        None => &SQLITE,
    };
    let mut deck = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(breaker.milliseconds(300, 1800));
        let length = breaker.milliseconds(50, 2500);
        let database = breaker.database;
        let _broken_here_alone = database.lock().unwrap();
        match breaker.deal(&mut deck, all) {
            Fault::ChangeAll => {
                breaker.fault(format!("more than {FILLERS} rows were changed"), || {
                    run_sql(place.url(), "UPDATE api_keys SET name = 'all ' || random()");
                });
            }
            Fault::Postgres(damage, fault) => breaker.fault(fault, || {
                if let Some(server) = place.own_server() {
                    damage(server, place.url(), length);
                }
            }),
            Fault::Sqlite(damage, fault) => {
                breaker.fault(fault, || damage(Path::new(place.url()), length));
            }
        }
    }
}

fn freeze(server: &OwnServer, _: &str, length: Duration) {
    server.freeze();
    thread::sleep(length);
    server.thaw();
}

fn crash(server: &OwnServer, _: &str, length: Duration) {
    server.crash();
    thread::sleep(length / 4);
    server.start_again();
}

fn restart(server: &OwnServer, _: &str, length: Duration) {
    server.shut_down();
    thread::sleep(length / 4);
    server.start_again();
}

fn end_connections(_: &OwnServer, url: &str, _: Duration) {
    run_sql(url, END_CONNECTIONS);
}

fn hold(file: &Path, length: Duration) {
    if let Some(mut writer) = Sql::connect(file.to_str().unwrap()) {
        let hold = "UPDATE api_keys SET name = 'held'";
        writer.transaction(hold, length, End::Rollback);
    }
}

fn fold(file: &Path, _: Duration) {
    run_sql(file.to_str().unwrap(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

fn take_away(file: &Path, length: Duration) {
    let folder = file.parent().unwrap();
    let away = PathBuf::from(format!("{}.away", folder.display()));
    fs::rename(folder, &away).unwrap();
    thread::sleep(length / 2);
    fs::rename(&away, folder).unwrap();
}

/// Prunes the change log repeatedly for this time, as servers would over several hours.
pub(super) fn prune(place: &Place, length: Duration) {
    let statements: &[&str] =
        if place.database().is_postgres() { &PRUNE_TABLE } else { &[PRUNE_FILE] };
    let until = Instant::now() + length;
    while Instant::now() < until {
        for statement in statements {
            run_sql(place.url(), statement);
        }
        thread::sleep(PRUNE_INTERVAL);
    }
}

fn run_sql(url: &str, sql: &str) {
    if let Some(mut connection) = Sql::connect(url) {
        let _ = connection.execute(sql);
    }
}
