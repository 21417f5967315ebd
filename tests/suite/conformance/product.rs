//! The service under test, with keys in memory or in a database, and its routes guarded by the
//! attribute. `wrapped.rs` has the same routes, guarded by the middleware.

use std::sync::Arc;

use actix_web::{HttpResponse, get, head, post, web};
use api_key_runtime::{
    AppKey, AppKeys, AppKeysBuilder, KeyLocation,
    admin::{AllowedIps, NewKey},
    require_app_key,
    test_util::{MemoryStore, TestClock},
};
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    routes::{self, Cake, Run, Search},
    serving::{Configure, Entrances, Served, cors},
    target::{Guard, Keys, State, TRUSTED_PROXIES, Target, Wanted},
};
use crate::support::{Database, FakeStore, LONG_DEADLINE};

#[require_app_key]
async fn guarded(run: Run) -> HttpResponse {
    run.cake()
}

#[get("/get-only")]
#[require_app_key]
async fn get_only(run: Run) -> HttpResponse {
    run.cake()
}

// The order of this attribute and the route attribute does not matter.
#[require_app_key]
#[head("/head-only")]
async fn head_only(run: Run) -> HttpResponse {
    run.cake()
}

#[post("/json")]
#[require_app_key]
async fn json(run: Run, _: web::Json<Cake>) -> HttpResponse {
    run.cake()
}

#[post("/text")]
#[require_app_key]
async fn text(run: Run, _: String) -> HttpResponse {
    run.cake()
}

#[get("/search")]
#[require_app_key]
async fn search(run: Run, _: web::Query<Search>) -> HttpResponse {
    run.cake()
}

#[get("/number/{number}")]
#[require_app_key]
async fn number(run: Run, _: web::Path<u32>) -> HttpResponse {
    run.cake()
}

#[get("/scopes/all")]
#[require_app_key(scopes = "cakes:write cakes:delete")]
async fn all_scopes(run: Run) -> HttpResponse {
    run.cake()
}

#[get("/scopes/any")]
#[require_app_key(any_scope = "cakes:write cakes:read")]
async fn any_scope(run: Run) -> HttpResponse {
    run.cake()
}

#[post("/scopes/body")]
#[require_app_key(scopes = "cakes:write")]
async fn scoped_body(run: Run, _: web::Json<Cake>) -> HttpResponse {
    run.cake()
}

#[get("/optional")]
#[require_app_key(optional)]
async fn optional(run: Run, _: Option<AppKey>) -> HttpResponse {
    run.cake()
}

#[get("/from")]
#[require_app_key]
async fn from(run: Run, key: AppKey) -> HttpResponse {
    run.caller(key.client_ip())
}

#[get("/socket")]
#[require_app_key]
async fn socket(run: Run) -> HttpResponse {
    run.upgrade()
}

/// Registers the handlers that the attribute guards.
pub(super) fn attributed(config: &mut web::ServiceConfig) {
    config
        .route("/public", web::get().to(routes::public))
        .route("/public", web::post().to(routes::public))
        .service(web::resource("/guarded").to(guarded))
        .service(web::resource("/files/{path:.*}").to(guarded))
        .service(get_only)
        .service(head_only)
        .service(json)
        .service(text)
        .service(search)
        .service(number)
        .service(all_scopes)
        .service(any_scope)
        .service(scoped_body)
        .service(optional)
        .service(from)
        .service(socket);
}

/// A function that configures the routes of the service.
pub(super) type Routes = fn(&mut web::ServiceConfig);

/// Serves keys in tables of this database.
pub(super) fn on_database(database: Database, routes: Routes) -> Served {
    database.migrate();
    let url = database.url().to_owned();
    let builder = move || AppKeys::builder().database_url(&url).lookup_timeout(LONG_DEADLINE);
    let (clock, now) = clock();
    let admin = database.admin();
    let keys = Keys::new(now, |wanted| {
        let (key, id) = database.issue_with(&new_key(&wanted));
        match wanted.state {
            State::Active => {}
            State::Disabled => drop(admin.disable(id).unwrap()),
            State::Revoked => drop(admin.revoke(id).unwrap()),
            State::Unreadable => database
                .execute(&format!(
                    "UPDATE api_keys SET allowed_ips = '127.0.0.1 junk' WHERE id = {id}"
                ))
                .unwrap(),
        }
        key
    });
    served(routes, builder, Some(database), keys, clock, now)
}

/// Serves keys in memory.
pub(super) fn in_memory(routes: Routes) -> Served {
    let store = MemoryStore::default();
    let (clock, now) = clock();
    let keys = Keys::new(now, |wanted| {
        let issued = store.issue(&new_key(&wanted)).unwrap();
        store.change(issued.record.id, |record| match wanted.state {
            State::Active => {}
            State::Disabled => record.disabled_at = Some(now),
            State::Revoked => record.revoked_at = Some(now),
            State::Unreadable => record.allowed_ips = AllowedIps::from_stored("127.0.0.1 junk"),
        });
        issued.secret.expose_secret().to_owned()
    });
    served(
        routes,
        move || AppKeys::builder().store(store.clone()).lookup_timeout(LONG_DEADLINE),
        None,
        keys,
        clock,
        now,
    )
}

fn new_key(wanted: &Wanted<'_>) -> NewKey {
    let new = NewKey::new("conformance")
        .allow(wanted.allowed_ips)
        .unwrap()
        .scopes(wanted.scopes)
        .unwrap();
    match wanted.expires_at {
        Some(end) => new.expires_at(end),
        None => new,
    }
}

/// Returns a clock that is set an hour ahead, to a time with a fraction of a second.
pub(super) fn clock() -> (TestClock, DateTime<Utc>) {
    let now = Utc::now() + TimeDelta::hours(1);
    let now = DateTime::from_timestamp_micros(now.timestamp() * 1_000_000 + 123_456).unwrap();
    (TestClock::at(now), now)
}

fn served(
    routes: Routes,
    builder: impl Fn() -> AppKeysBuilder,
    database: Option<Database>,
    keys: Keys,
    clock: TestClock,
    now: DateTime<Utc>,
) -> Served {
    let guard = Guard::default();
    let build = |builder: AppKeysBuilder| builder.clock(clock.clone()).build().unwrap();
    let door = |keys: &AppKeys| -> Configure {
        let (keys, guard) = (keys.clone(), guard.clone());
        Arc::new(move |config| {
            config.app_data(keys.clone()).app_data(guard.clone());
            routes(config);
        })
    };
    let plain = build(builder());
    let recipe = build(
        builder()
            .key_locations([
                KeyLocation::bearer(),
                KeyLocation::header("X-API-Key"),
                KeyLocation::query("key"),
                KeyLocation::cookie("app_key"),
            ])
            .accept_imported_keys(true),
    );
    let proxied = build(builder().trusted_proxies(TRUSTED_PROXIES));
    let within_cors: Configure = {
        let (keys, guard) = (plain.clone(), guard.clone());
        Arc::new(move |config| {
            let within = web::scope("").wrap(cors()).app_data(keys.clone()).app_data(guard.clone());
            config.service(within.configure(routes));
        })
    };
    let unconfigured: Configure = {
        let guard = guard.clone();
        Arc::new(move |config| {
            config.app_data(guard.clone());
            routes(config);
        })
    };
    let entrances = Entrances {
        plain: door(&plain),
        recipe: door(&recipe),
        proxied: door(&proxied),
        cors: within_cors,
        failing: door(&build(
            AppKeys::builder().store(FakeStore::failing("the table is unavailable")),
        )),
        unconfigured,
    };
    Served::new(entrances, database, |doors| Target { doors, keys, guard, clock, now })
}
