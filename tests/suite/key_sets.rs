//! Several key sets in one application: only the innermost set applies.

use actix_web::{HttpResponse, web};
use api_key_runtime::{
    AppKey, AppKeys, KeyLocation, RequireAppKey, admin::NewKey, require_app_key,
    test_util::MemoryStore,
};

use crate::support::{Database, Server, http, log};

#[require_app_key]
async fn attributed(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(key.name().to_owned())
}

#[require_app_key(optional)]
async fn optional(key: Option<AppKey>) -> HttpResponse {
    HttpResponse::Ok().body(key.map_or("anonymous".to_owned(), |key| key.name().to_owned()))
}

async fn named(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(key.name().to_owned())
}

const GUARD: RequireAppKey = RequireAppKey::new();

/// Registers one route that the attribute guards, and one that the middleware guards.
fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/attribute").to(attributed))
        .service(web::resource("/middleware").wrap(GUARD).to(named));
}

/// A key set with one key.
struct Set {
    keys: AppKeys,
    key: String,
    _database: Option<Database>,
}

impl Set {
    fn on(database: Database, name: &str, prefix: &str) -> Self {
        let builder = || database.migrate().builder().prefix(prefix);
        let new = NewKey::new(name).allow_any();
        let issued = builder().build_admin().unwrap().issue(&new).unwrap();
        Self {
            keys: builder().build().unwrap(),
            key: issued.secret.expose_secret().to_owned(),
            _database: Some(database),
        }
    }

    fn in_memory(name: &str) -> Self {
        let store = MemoryStore::default();
        let issued = store.issue(&NewKey::new(name).allow_any()).unwrap();
        Self {
            keys: AppKeys::builder().store(store).build().unwrap(),
            key: issued.secret.expose_secret().to_owned(),
            _database: None,
        }
    }
}

/// Sends every key to every place, and checks that each key is accepted only where its set applies.
fn assert_good_at(server: &Server, sets: &[(&str, &Set)], places: &[(&str, &str)]) {
    for (place, owner) in places {
        for guard in ["attribute", "middleware"] {
            let target = format!("{place}/{guard}");
            assert_eq!(http::get(server.address, &target, &[]).status, 401);
            for (name, set) in sets {
                let answer = http::get_with(server.address, &target, &set.key);
                let text = String::from_utf8(answer.body.clone()).unwrap();
                if name == owner {
                    assert_eq!((answer.status, text.as_str()), (200, *name), "{target}");
                } else {
                    assert_eq!(answer.status, 401, "{name} at {target}");
                }
            }
        }
    }
}

/// Returns another database of the same kind.
fn another(database: &Database) -> Database {
    if database.is_postgres() { Database::postgres() } else { Database::sqlite() }
}

// A12, D1
#[test]
fn a_key_of_one_set_is_rejected_by_the_other() {
    let database = Database::sqlite();
    let partner = Set::on(another(&database), "partner", "partner_");
    let own = Set::on(database, "own", "own_");
    let inner = Set::in_memory("inner");
    let all = [own.keys.clone(), partner.keys.clone(), inner.keys.clone()];
    let server = Server::configured(move |config| {
        let [own, partner, inner] = all.clone();
        let deeper = web::scope("/deeper").configure(routes).service(
            web::scope("/inner")
                .app_data(inner.clone())
                .configure(routes)
                .service(web::scope("/own").app_data(own.clone()).configure(routes)),
        );
        config
            .app_data(own)
            .configure(routes)
            .service(web::scope("/partner").app_data(partner).configure(routes).service(deeper));
    });
    let sets = [("own", &own), ("partner", &partner), ("inner", &inner)];
    let places = [
        ("", "own"),
        ("/partner", "partner"),
        ("/partner/deeper", "partner"),
        ("/partner/deeper/inner", "inner"),
        ("/partner/deeper/inner/own", "own"),
    ];
    assert_good_at(&server, &sets, &places);
}

// A12, D1
#[test]
fn sets_with_one_prefix_are_separate_even_as_web_data() {
    let own = Set::in_memory("own");
    let partner = Set::on(Database::sqlite(), "partner", "ak_live_");
    let all = [own.keys.clone(), partner.keys.clone()];
    let server = Server::configured(move |config| {
        let [own, partner] = all.clone().map(web::Data::new);
        config
            .app_data(own)
            .configure(routes)
            .service(web::scope("/partner").app_data(partner).configure(routes));
    });
    let sets = [("own", &own), ("partner", &partner)];
    assert_good_at(&server, &sets, &[("", "own"), ("/partner", "partner")]);
}

/// Returns the prefix of the `AppKeys` that this handler receives.
async fn prefix(keys: AppKeys) -> Result<String, api_key_runtime::Error> {
    let issued = keys.make_key(&NewKey::new("test").allow_any())?;
    let secret = issued.secret.expose_secret();
    Ok(secret.rsplit_once('_').map_or("none", |(prefix, _)| prefix).to_owned())
}

async fn perhaps(keys: Option<AppKeys>) -> String {
    keys.is_some().to_string()
}

#[test]
fn a_handler_takes_the_keys_of_its_scope() {
    let [own, partner] = ["own_", "partner_"].map(|prefix| {
        let builder = AppKeys::builder().store(MemoryStore::default());
        builder.prefix(prefix).build().unwrap()
    });
    let server = Server::configured(move |config| {
        let routes = |config: &mut web::ServiceConfig| {
            config.route("/prefix", web::get().to(prefix));
            config.route("/perhaps", web::get().to(perhaps));
        };
        let [own, partner] = [own.clone(), partner.clone()];
        let inner = web::scope("/inner").app_data(partner.clone()).configure(routes);
        let same = web::scope("/same").app_data(web::Data::new(own.clone())).configure(routes);
        let two = web::scope("/two").app_data(web::Data::new(partner.clone())).configure(routes);
        let plain = web::scope("/plain").app_data(own);
        let plain = plain.configure(routes).service(inner).service(same).service(two);
        let data = web::scope("/data").app_data(web::Data::new(partner)).configure(routes);
        let none = web::scope("/taken-from-nowhere").configure(routes);
        config.service(plain).service(data).service(none);
    });
    let get = |target: &str| {
        let answer = http::get(server.address, target, &[]);
        (answer.status, answer.text())
    };
    for (scope, expected) in [
        ("/plain", "own"),
        ("/plain/inner", "partner"),
        ("/plain/same", "own"),
        ("/data", "partner"),
    ] {
        assert_eq!(get(&format!("{scope}/prefix")), (200, expected.to_owned()), "{scope}");
        assert_eq!(get(&format!("{scope}/perhaps")), (200, "true".to_owned()), "{scope}");
    }
    for scope in ["/plain/two", "/taken-from-nowhere"] {
        assert_eq!(get(&format!("{scope}/prefix")).0, 500, "{scope}");
        assert_eq!(get(&format!("{scope}/perhaps")), (200, "false".to_owned()), "{scope}");
    }
    let lines = log::lines_with("/taken-from-nowhere/");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.contains("/prefix has") && line.contains("no AppKeys in the"), "{line}");
}

// A12
#[test]
fn two_sets_in_one_scope_are_ambiguous_and_nothing_runs() {
    let own = Set::in_memory("own");
    let partner = Set::in_memory("partner");
    let all = [own.keys.clone(), partner.keys.clone()];
    let server = Server::configured(move |config| {
        let [own, partner] = all.clone();
        config.app_data(own).configure(routes).service(
            web::scope("/unclear-partner").app_data(web::Data::new(partner)).configure(routes),
        );
    });
    for guard in ["attribute", "middleware"] {
        for set in [&own, &partner] {
            let target = format!("/unclear-partner/{guard}");
            assert_eq!(http::get_with(server.address, &target, &set.key).status, 500);
        }
        let line = format!("/unclear-partner/{guard} has both AppKeys and web::Data<AppKeys>");
        assert_eq!(log::lines_with(&line).len(), 1);
        assert_eq!(http::get_with(server.address, &format!("/{guard}"), &own.key).status, 200);
    }
}

// A12, D1, D5
#[test]
fn a_key_of_an_outer_set_is_anonymous_to_an_inner_set() {
    let outer_store = MemoryStore::default();
    let issued = outer_store.issue(&NewKey::new("outer").allow_any()).unwrap();
    let outer = AppKeys::builder()
        .store(outer_store)
        .key_locations([KeyLocation::header("X-Outer")])
        .build()
        .unwrap();
    let inner = Set::in_memory("inner");
    let inner_keys = inner.keys.clone();
    let server = Server::configured(move |config| {
        config.service(
            web::scope("/outer").app_data(outer.clone()).wrap(GUARD).service(
                web::scope("/inner")
                    .app_data(inner_keys.clone())
                    .service(web::resource("/strict").to(attributed))
                    .service(web::resource("/optional").to(optional)),
            ),
        );
    });
    let outer = format!("X-Outer: {}", issued.secret.expose_secret());
    let bearer = format!("Authorization: Bearer {}", inner.key);
    let answer = |path: &str, lines: &[&str]| {
        let answer = http::get(server.address, &format!("/outer/inner/{path}"), lines);
        let text = String::from_utf8(answer.body.clone()).unwrap();
        let vary: Vec<String> = answer
            .headers
            .into_iter()
            .filter(|(name, _)| name == "vary")
            .map(|(_, value)| value)
            .collect();
        (answer.status, if answer.status == 200 { text } else { String::new() }, vary)
    };
    let outer_vary = "x-outer".to_owned();
    let both = vec!["authorization, x-api-key".to_owned(), outer_vary.clone()];
    assert_eq!(answer("optional", &[&bearer]), (401, String::new(), vec![outer_vary]));
    assert_eq!(answer("strict", &[&outer]), (401, String::new(), both.clone()));
    assert_eq!(
        answer("optional", &[&outer]),
        (200, "anonymous".to_owned(), both.clone()),
        "the key of the outer set is not handed to the handler of the inner one"
    );
    for path in ["strict", "optional"] {
        assert_eq!(answer(path, &[&outer, &bearer]), (200, "inner".to_owned(), both.clone()));
    }
}

// G2
#[test]
fn the_access_log_redacts_the_keys_of_several_sets() {
    let own = Set::on(Database::sqlite(), "own", "own_");
    let partner = Set::on(Database::sqlite(), "partner", "partner_");
    let sets = [own.keys.clone(), partner.keys.clone()];
    let server = Server::configured(move |config| {
        let [own, partner] = sets.clone();
        let log = own.access_log_with(&[&partner]);
        config.service(web::scope("").wrap(log).app_data(own).configure(routes));
    });
    for set in [&own, &partner] {
        let target = format!("/log-of-sets/{}?x={}", set.key, set.key);
        assert_eq!(http::get(server.address, &target, &[]).status, 404);
    }
    let lines: Vec<String> = (log::lines_with("/log-of-sets/").into_iter())
        .filter(|line| line.starts_with("INFO app_key: "))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (prefix, line) in ["own_", "partner_"].iter().zip(&lines) {
        let shown = format!("/log-of-sets/{prefix}[redacted]?x={prefix}[redacted] HTTP/1.1");
        assert!(line.contains(&shown), "{line}");
    }
}

// E1: The warning is for services that build a set in the closure of `HttpServer::new`. There, each
// worker gets a set with its own threads, connections and cache.
#[test]
fn equal_key_sets_in_use_log_one_warning() {
    log::install();
    let database = Database::sqlite();
    let warnings = || {
        let lines = log::lines_with("with equal settings");
        lines.into_iter().filter(|line| line.contains(database.url())).count()
    };
    let build = || database.migrate().builder().prefix("equal_").build().unwrap();
    drop(build());
    let first = build();
    assert_eq!(warnings(), 0, "one after another");
    let other = database.builder().prefix("other_").build().unwrap();
    assert_eq!(warnings(), 0, "other settings");
    let more = [build(), build()];
    assert_eq!(warnings(), 1);
    drop((first, other, more));
}
