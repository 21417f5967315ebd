//! A transaction pooler, which shares connections between clients, and a hot standby, which
//! services and administration reject.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{
    AppKeys,
    admin::{ListKeys, NewKey},
};

use super::routes;
#[cfg(target_os = "linux")]
use crate::support::OwnServer;
use crate::support::{
    Database, LONG_DEADLINE, Server, TEST_TIMEOUT, fixtures, http, log, refused_in_time, wait_until,
};

/// Returns the keys of a service whose only database URL is that of the pooler.
fn pooled(database: &Database) -> AppKeys {
    AppKeys::builder()
        .database_url(database.migrate().pooled_url())
        .usage_flush_interval(Duration::from_millis(100))
        .lookup_timeout(LONG_DEADLINE)
        .build()
        .unwrap()
}

// E9
#[test]
fn everything_works_through_a_transaction_pooler() {
    const CLIENTS: usize = 8;
    let database = Database::postgres();
    let known = database.issue_many(400);
    let keys = [(); 2].map(|()| pooled(&database));
    let services = keys.each_ref().map(|keys| Server::start(keys.clone(), routes));
    let admin = AppKeys::builder().database_url(database.pooled_url()).build_admin().unwrap();
    thread::scope(|scope| {
        for (number, keys) in known.chunks(known.len() / CLIENTS).enumerate() {
            let address = services[number % services.len()].address;
            scope.spawn(move || {
                for (key, _) in keys {
                    assert_eq!(http::get_with(address, "/guarded", key).status, 200);
                    let unknown = fixtures::unknown();
                    assert_eq!(http::get_with(address, "/guarded", &unknown).status, 401);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let new = NewKey::new("pooled").allow_any();
                for _ in 0..20 {
                    let issued = admin.issue(&new).unwrap();
                    let (key, id) = (issued.secret.expose_secret(), issued.record.id);
                    assert_eq!(admin.get(id).unwrap().hint, issued.record.hint);
                    admin.disable(id).unwrap();
                    admin.enable(id).unwrap();
                    let status = || http::get_with(services[0].address, "/guarded", key).status;
                    assert_eq!(status(), 200);
                    database.revoke_by_sql(id);
                    refused_in_time("a revoked key", Instant::now(), 401, status);
                    assert!(admin.list(&ListKeys::new()).unwrap().len() > known.len());
                }
            });
        }
    });
    assert!(
        keys.iter().all(|keys| keys.flush_usage(TEST_TIMEOUT).is_ok()),
        "usage could not be recorded"
    );
    let uses = admin.list_usage(..).unwrap();
    for (_, id) in &known {
        let count = uses.iter().find(|uses| uses.key_id == *id).unwrap().count;
        assert_eq!(count, 1, "key {id}");
    }
}

// E9
#[test]
fn a_revocation_spreads_within_a_second_through_a_pooler() {
    let database = Database::postgres();
    let known = database.issue_many(10);
    let services = [(); 2].map(|()| Server::start(pooled(&database), routes));
    let revoke_all = |keys: &[(String, i64)]| {
        for (key, id) in keys {
            let statuses = services
                .each_ref()
                .map(|service| || http::get_with(service.address, "/guarded", key).status);
            for status in &statuses {
                assert_eq!(status(), 200);
            }
            let revoke = format!("UPDATE api_keys SET revoked_at = now() WHERE id = {id}");
            database.execute(&revoke).unwrap();
            let revoked = Instant::now();
            let took =
                statuses.map(|status| refused_in_time("a revoked key", revoked, 401, status));
            println!("through PgBouncer, a key revoked by SQL was accepted for {took:?}");
        }
    };
    revoke_all(&known[..5]);
    let name = database.name();
    let said = || {
        let lines = log::lines_with(&format!(
            "/{name} do not arrive, probably because of a connection pooler"
        ));
        assert!(lines.iter().all(|line| line.starts_with("WARN") && line.contains("listen_url")));
        lines.len()
    };
    wait_until("the warning is logged", || said() == services.len());
    // New connections do not repeat the warning.
    database.end_connections();
    revoke_all(&known[5..]);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(said(), services.len());
}

// E9, F8
#[cfg(target_os = "linux")]
#[test]
fn services_and_administration_reject_a_hot_standby() {
    let primary = OwnServer::start();
    let database = primary.database();
    let (_, id) = database.issue("0.0.0.0");
    let standby = OwnServer::standby_of(primary.address());
    let there = AppKeys::builder().database_url(database.url_at(standby.address()));
    let error = there.build().unwrap_err();
    assert!(error.is_database() && error.to_string().contains("hot standby"), "{error}");
    let admin =
        AppKeys::builder().database_url(database.url_at(standby.address())).build_admin().unwrap();
    let errors = [
        admin.revoke(id).map(drop),
        admin.get(id).map(drop),
        admin.list(&ListKeys::new()).map(drop),
    ];
    for error in errors {
        let error = error.expect_err("administration of a hot standby");
        assert!(error.to_string().contains("hot standby"), "{error}");
    }
    // The primary is accepted even while it has a standby.
    database.builder().build().unwrap();
}
