//! A key ends at its very moment.

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{NewKey, require_app_key, test_util::TestClock};
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::{Database, Server, database_test, fixtures::moment, http};

#[get("/cake")]
#[require_app_key]
async fn cake() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(cake);
}

// E5
database_test!(a_key_ends_at_its_very_moment_and_null_is_never, |database: Database| {
    database.migrate();
    let clock = TestClock::at(moment() - TimeDelta::days(1));
    let keys = database.builder().clock(clock.clone()).build().unwrap();
    let admin = keys.admin().unwrap();
    let ending = admin
        .issue(&NewKey::new("ending", "0.0.0.0".parse().unwrap()).expires_at(moment()))
        .unwrap();
    let endless = admin.issue(&NewKey::new("endless", "0.0.0.0".parse().unwrap())).unwrap();
    assert_eq!(
        admin.get(ending.record.id).unwrap().expires_at,
        Some(moment()),
        "kept to the microsecond"
    );
    let server = Server::start(keys, routes);
    // Twice each, so that the second finds whatever the first may have left.
    for (offset, expected) in [(-1000, 200), (-1, 200), (0, 401), (1, 401), (1000, 401)] {
        clock.set(moment() + TimeDelta::microseconds(offset));
        for _ in 0..2 {
            assert_eq!(
                http::get_with(server.address, "/cake", ending.secret.expose_secret()).status,
                expected,
                "{offset} us"
            );
            assert_eq!(
                http::get_with(server.address, "/cake", endless.secret.expose_secret()).status,
                200
            );
        }
    }
    clock.set(DateTime::<Utc>::MAX_UTC);
    assert_eq!(http::get_with(server.address, "/cake", endless.secret.expose_secret()).status, 200);
});

// E5
database_test!(an_expiry_written_by_sql_in_another_zone_is_that_moment, |database: Database| {
    database.migrate();
    let clock = TestClock::at(moment());
    let keys = database.builder().clock(clock.clone()).build().unwrap();
    let server = Server::start(keys, routes);
    let (key, id) = database.issue("0.0.0.0");
    let end = moment().format("%Y-%m-%d %H:%M:%S%.6f");
    let update = |time: String| {
        database.execute(&format!("UPDATE api_keys SET expires_at = '{time}' WHERE id = {id}"))
    };
    if database.is_postgres() {
        let zoned = moment()
            .with_timezone(&chrono::FixedOffset::east_opt(7200).unwrap())
            .format("%Y-%m-%d %H:%M:%S%.6f%:z");
        update(zoned.to_string()).unwrap();
    } else {
        // One form only: another zone, or none, could be misread, so the table refuses it.
        for other in [
            format!("{end}+02:00"),
            format!("{end}"),
            format!("{end}Z"),
            "2026-02-30 00:00:00+00:00".to_owned(),
            "soon".to_owned(),
        ] {
            assert!(update(other.clone()).unwrap_err().contains("CHECK"), "{other}");
        }
        update(format!("{end}+00:00")).unwrap();
    }
    clock.set(moment() - TimeDelta::microseconds(1));
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 200);
    clock.set(moment());
    assert_eq!(http::get_with(server.address, "/cake", &key).status, 401);
});

// E5
database_test!(a_time_that_cannot_be_decoded_cannot_be_written, |database: Database| {
    let (_, id) = database.issue("0.0.0.0");
    for bad in ["infinity", "-infinity", "9999-13-01 00:00:00+00:00"] {
        assert!(
            database
                .execute(&format!("UPDATE api_keys SET expires_at = '{bad}' WHERE id = {id}"))
                .is_err(),
            "{bad}"
        );
    }
});
