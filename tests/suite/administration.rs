//! Keys are created and changed only with access to the database. No request can create or change a
//! key, whatever key the request presents.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, get};
use api_key_runtime::{
    AppKeys, RequireAppKey,
    admin::{AllowedIps, KeyState, ListKeys, NewKey},
    require_app_key,
    test_util::TestClock,
};
use chrono::{TimeDelta, Utc};

use crate::support::{Database, Server, database_test, http};

/// Paths at which other products create, change or show keys, and paths that this library might
/// use.
const PATHS: [&str; 20] = [
    "/",
    "/keys",
    "/keys/1",
    "/api-keys",
    "/api_keys",
    "/api-keys/1/rotate",
    "/api-keys/1/revoke",
    "/app-keys",
    "/app_keys/1",
    "/app-key/issue",
    "/admin/keys",
    "/api/auth/api-key/create",
    "/api/auth/api-key/update",
    "/api/auth/api-key/list",
    "/v2/keys.createKey",
    "/consumers/test/key-auth",
    "/apisix/admin/consumers/test",
    "/sanctum/token",
    "/oauth/token",
    "/login",
];

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"];

/// Bodies of requests that create a key in some of these products.
const BODIES: [(&str, &str); 2] = [
    (
        "application/json",
        r#"{"name":"mine","ip":"any","allowed_ips":"0.0.0.0","scopes":"admin","userId":"1"}"#,
    ),
    ("application/x-www-form-urlencoded", "name=mine&ip=any&allowed_ips=0.0.0.0&scopes=admin"),
];

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// Starts a service that uses every part of the library that an application can register.
fn serve(keys: AppKeys) -> Server {
    Server::built(move || {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(keys.clone())
                .wrap(RequireAppKey::new())
                .wrap(keys.access_log())
                .service(guarded)
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        (server.addrs()[0], server.run())
    })
}

// A14
database_test!(no_request_makes_or_changes_a_key, |database: Database| {
    let new = NewKey::new("test").allow_any().scopes("admin keys:write").unwrap();
    let (key, _) = database.issue_with(&new);
    let logged = || database.texts("SELECT cast(count(*) AS text) FROM api_key_changes");
    let before = (database.rows(), logged());
    let server = serve(database.keys());
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200, "the service is up");
    for path in PATHS {
        for method in METHODS {
            for (kind, body) in BODIES {
                let lines = [
                    format!("Authorization: Bearer {key}"),
                    format!("Content-Type: {kind}"),
                    format!("Content-Length: {}", body.len()),
                ];
                let lines = lines.each_ref().map(String::as_str);
                // The server does not read the body of a request for an unknown route, so each
                // request needs a new connection.
                let mut client = http::Client::connect(server.address);
                client.send(http::head(method, path, &lines)).send(body);
                let answer = client.read(false).unwrap();
                assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            }
        }
    }
    assert_eq!((database.rows(), logged()), before);
});

database_test!(a_key_without_an_allowed_ip_is_not_issued, |database: Database| {
    let admin = database.migrate().admin();
    let error = admin.issue(&NewKey::new("nowhere")).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("NewKey::allow_any"), "{error}");
    assert!(admin.list(&ListKeys::new()).unwrap().is_empty());
    assert!(NewKey::new("bad").allow("10.0.0.1/8").unwrap_err().is_invalid_input());
    let allowed = |new: &NewKey| admin.issue(new).unwrap().record.allowed_ips;
    let new = NewKey::new("two").allow("10.0.0.0/8").unwrap().allow("192.0.2.7").unwrap();
    assert_eq!(allowed(&new).as_str(), "10.0.0.0/8 192.0.2.7");
    assert_eq!(allowed(&new.allow_any().allow("10.0.0.1").unwrap()), AllowedIps::any());
});

database_test!(a_lifetime_counts_from_when_the_key_is_issued, |database: Database| {
    let clock = TestClock::at(Utc::now() + TimeDelta::days(1000));
    let admin = database.migrate().builder().clock(clock.clone()).build_admin().unwrap();
    let new = NewKey::new("ending").allow_any().expires_in(Duration::from_secs(60));
    clock.advance(Duration::from_secs(3600));
    let record = admin.issue(&new).unwrap().record;
    assert_eq!(record.expires_at, Some(record.created_at + TimeDelta::minutes(1)));
    for unusable in [Duration::ZERO, Duration::MAX] {
        let new = NewKey::new("ending").allow_any().expires_in(unusable);
        assert!(admin.issue(&new).unwrap_err().is_invalid_input(), "{unusable:?}");
    }
});

database_test!(keys_are_listed_page_by_page, |database: Database| {
    let admin = database.migrate().admin();
    for number in 0..7 {
        let owner = if number % 2 == 0 { "ada" } else { "bob" };
        admin.issue(&NewKey::new(format!("key {number}")).allow_any().owner(owner)).unwrap();
    }
    let ids = |wanted: &ListKeys| -> Vec<i64> {
        admin.list(wanted).unwrap().iter().map(|record| record.id).collect()
    };
    let all = ids(&ListKeys::new());
    assert_eq!(all.len(), 7);
    assert!(all.is_sorted());
    for wanted in [ListKeys::new(), ListKeys::new().owner("ada"), ListKeys::new().owner("eve")] {
        let mut paged = Vec::new();
        let mut page = ids(&wanted.clone().limit(3));
        while let Some(&last) = page.last() {
            assert!(page.len() <= 3);
            paged.append(&mut page);
            page = ids(&wanted.clone().limit(3).after_id(last));
        }
        assert_eq!(paged, ids(&wanted), "{wanted:?}");
    }
    assert_eq!(ids(&ListKeys::new().owner("ada")), [all[0], all[2], all[4], all[6]]);
    assert!(ids(&ListKeys::new().limit(0)).is_empty());
});

database_test!(keys_are_listed_by_the_state_they_are_shown_in, |database: Database| {
    let clock = TestClock::at(Utc::now());
    let admin = database.migrate().builder().clock(clock.clone()).build_admin().unwrap();
    for combination in 0..8 {
        let mut new = NewKey::new("state").allow_any();
        if combination & 1 != 0 {
            new = new.expires_in(Duration::from_secs(60));
        }
        let id = admin.issue(&new).unwrap().record.id;
        if combination & 2 != 0 {
            admin.disable(id).unwrap();
        }
        if combination & 4 != 0 {
            admin.revoke(id).unwrap();
        }
    }
    clock.advance(Duration::from_secs(60));
    let all = admin.list(&ListKeys::new()).unwrap();
    for state in [KeyState::Active, KeyState::Expired, KeyState::Disabled, KeyState::Revoked] {
        let expected: Vec<_> =
            all.iter().filter(|record| record.state(clock.now()) == state).cloned().collect();
        assert!(!expected.is_empty(), "{state}");
        let ids = |records: &[api_key_runtime::admin::KeyRecord]| -> Vec<i64> {
            records.iter().map(|record| record.id).collect()
        };
        let listed = admin.list(&ListKeys::new().state(state)).unwrap();
        assert_eq!(ids(&listed), ids(&expected), "{state}");
    }
});

database_test!(the_usage_of_a_missing_key_is_an_error, |database: Database| {
    let (_, id) = database.migrate().issue("0.0.0.0");
    let admin = database.admin();
    assert_eq!(admin.usage(id).unwrap(), None);
    assert!(admin.usage(id + 1).unwrap_err().is_not_found());
});
