//! Between a service and its database: a transaction pooler, which hands every connection around, and a copy that lags behind.

use std::{
    thread,
    time::{Duration, Instant},
};

use api_key_runtime::{AppKeys, NewKey};

use super::routes;
#[cfg(unix)]
use crate::support::OwnServer;
use crate::support::{Database, Server, fixtures, http};

fn pooled(database: &Database) -> AppKeys {
    AppKeys::builder()
        .database_url(database.pooled_url())
        .build()
        .unwrap()
}

// E9
#[test]
fn through_a_transaction_pooler_look_ups_and_administration_are_without_an_error() {
    const CLIENTS: usize = 8;
    let database = Database::postgres();
    let known = database.issue_many(400);
    let services = [(); 2].map(|()| Server::start(pooled(&database), routes));
    let admin = AppKeys::builder()
        .database_url(database.pooled_url())
        .build_admin()
        .unwrap();
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
                let new = NewKey::new("pooled", "0.0.0.0".parse().unwrap());
                for _ in 0..20 {
                    let issued = admin.issue(&new).unwrap();
                    let (key, id) = (issued.secret.expose(), issued.record.id);
                    assert_eq!(admin.get(id).unwrap().hint, issued.record.hint);
                    admin.disable(id).unwrap();
                    admin.enable(id).unwrap();
                    let status = || http::get_with(services[0].address, "/guarded", key).status;
                    assert_eq!(status(), 200);
                    admin.revoke(id).unwrap();
                    refused_within_a_second(status);
                    assert!(admin.list().unwrap().len() > known.len());
                }
            });
        }
    });
}

// E9
#[test]
fn through_a_transaction_pooler_a_revocation_reaches_every_service_within_a_second() {
    let database = Database::postgres();
    let known = database.issue_many(5);
    let services = [(); 2].map(|()| Server::start(pooled(&database), routes));
    for (key, id) in &known {
        let statuses = services
            .each_ref()
            .map(|service| || http::get_with(service.address, "/guarded", key).status);
        for status in &statuses {
            assert_eq!(status(), 200);
        }
        database
            .execute(&format!(
                "UPDATE api_keys SET revoked_at = now() WHERE id = {id}"
            ))
            .unwrap();
        let took = statuses.map(refused_within_a_second);
        println!("through PgBouncer a revocation by SQL took {took:?}");
    }
}

/// How long it takes until the key is refused.
fn refused_within_a_second(status: impl Fn() -> u16) -> Duration {
    let began = Instant::now();
    loop {
        match status() {
            401 => return began.elapsed(),
            200 => assert!(
                began.elapsed() < Duration::from_millis(1500),
                "a revoked key passes on"
            ),
            other => panic!("{other}"),
        }
        thread::sleep(Duration::from_millis(2));
    }
}

// E9, F8
#[cfg(unix)]
#[test]
fn a_hot_standby_is_refused_by_a_service_and_by_administration() {
    let primary = OwnServer::start();
    let database = primary.database();
    let (_, id) = database.issue("0.0.0.0");
    let standby = OwnServer::standby_of(primary.address());
    let there = AppKeys::builder().database_url(database.url_at(standby.address()));
    let error = there.build().unwrap_err();
    assert!(
        error.is_database() && error.to_string().contains("hot standby"),
        "{error}"
    );
    let admin = AppKeys::builder()
        .database_url(database.url_at(standby.address()))
        .build_admin()
        .unwrap();
    let errors = [
        admin.revoke(id).map(drop),
        admin.get(id).map(drop),
        admin.list().map(drop),
    ];
    for error in errors {
        let error = error.expect_err("administration of a hot standby");
        assert!(error.to_string().contains("hot standby"), "{error}");
    }
    // The primary itself is served, also while it has a standby.
    database.builder().build().unwrap();
}
