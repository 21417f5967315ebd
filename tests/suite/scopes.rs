//! Who gets in, by what a route asks and who calls.

use actix_web::{HttpResponse, web};
use api_key_runtime::{AppKey, NewKey, RequireAppKey, require_app_key};

use crate::support::{Database, Fixtures, Server, database_test, http};

/// What a route asks: the attribute and the middleware under the same name.
macro_rules! asks {
    ($($name:ident: [$($argument:tt)*], $guard:expr;)+) => {
        $(
            #[require_app_key($($argument)*)]
            async fn $name(key: Option<AppKey>) -> HttpResponse {
                named(key).await
            }
        )+

        const ASKS: [&str; 8] = [$(stringify!($name)),+];

        fn routes(config: &mut web::ServiceConfig) {
            $(
                config
                    .service(web::resource(concat!("/attribute/", stringify!($name))).to($name))
                    .service(
                        web::scope(concat!("/middleware/", stringify!($name)))
                            .wrap($guard)
                            .route("", web::to(named)),
                    );
            )+
        }
    };
}

const NEW: RequireAppKey = RequireAppKey::new();

asks! {
    none: [], NEW;
    all: [scopes = "a b"], NEW.scopes(&["a", "b"]);
    any: [any_scope = "c d"], NEW.any_scope(&["c", "d"]);
    both: [scopes = "a b", any_scope = "c d"], NEW.scopes(&["a", "b"]).any_scope(&["c", "d"]);
    none_optional: [optional], NEW.optional();
    all_optional: [scopes = "a b", optional], NEW.scopes(&["a", "b"]).optional();
    any_optional: [any_scope = "c d", optional], NEW.any_scope(&["c", "d"]).optional();
    both_optional: [scopes = "a b", any_scope = "c d", optional],
        NEW.scopes(&["a", "b"]).any_scope(&["c", "d"]).optional();
}

async fn named(key: Option<AppKey>) -> HttpResponse {
    HttpResponse::Ok().body(key.map_or("nobody".to_owned(), |key| key.name().to_owned()))
}

// B3, D1
database_test!(
    every_combination_of_arguments_answers_every_caller_as_the_table_says,
    |database: Database| {
        let server = Server::start(database.keys(), routes);
        let fixtures = Fixtures::new(&database);
        let with = |scopes: &str| {
            let new =
                NewKey::new("scoped", "0.0.0.0".parse().unwrap()).scopes(scopes.parse().unwrap());
            format!("X-API-Key: {}", database.issue_with(&new).0)
        };
        let scoped_elsewhere = NewKey::new("scoped", "203.0.113.7".parse().unwrap())
            .scopes("a b c d".parse().unwrap());
        let elsewhere = format!("X-API-Key: {}", database.issue_with(&scoped_elsewhere).0);
        let key = |key: &str| format!("X-API-Key: {key}");
        let good = with("a b c d");
        let twice = format!("{good}\r\n{good}");
        // The columns are `ASKS`.
        #[rustfmt::skip]
        let table: [(&str, String, [u16; 8]); 19] = [
            //                                                  none all  any  both, and the same optional
            ("nothing", "X-Nothing: presented".to_owned(),     [401, 401, 401, 401, 200, 200, 200, 200]),
            ("another scheme", "Authorization: Basic eA==".to_owned(), [401, 401, 401, 401, 200, 200, 200, 200]),
            ("an empty value", "X-API-Key:".to_owned(),        [401; 8]),
            ("an empty bearer", "Authorization: Bearer".to_owned(), [401; 8]),
            ("no key", key("junk"),                            [401; 8]),
            ("an unknown key", key(&fixtures.unknown),         [401; 8]),
            ("a revoked key", key(&fixtures.revoked),          [401; 8]),
            ("a disabled key", key(&fixtures.disabled),        [401; 8]),
            ("an expired key", key(&fixtures.expired),         [401; 8]),
            ("all scopes from another address", elsewhere,     [401; 8]),
            ("a good key twice", twice,                        [400; 8]),
            ("no scope", with(""),                             [200, 403, 403, 403, 200, 403, 403, 403]),
            ("one of all", with("a"),                          [200, 403, 403, 403, 200, 403, 403, 403]),
            ("another scope", with("e ab A B C D"),            [200, 403, 403, 403, 200, 403, 403, 403]),
            ("all of all", with("a b"),                        [200, 200, 403, 403, 200, 200, 403, 403]),
            ("one of any", with("c"),                          [200, 403, 200, 403, 200, 403, 200, 403]),
            ("one of each", with("a d"),                       [200, 403, 200, 403, 200, 403, 200, 403]),
            ("all of all and one of any", with("d b a"),       [200; 8]),
            ("all", good.clone(),                              [200; 8]),
        ];
        for (who, line, statuses) in &table {
            for (ask, status) in ASKS.iter().zip(statuses) {
                for guard in ["attribute", "middleware"] {
                    let answer = http::get(server.address, &format!("/{guard}/{ask}"), &[line]);
                    assert_eq!(answer.status, *status, "{who}, {guard}, {ask}");
                    if *status == 200 {
                        let name = if line.starts_with("X-API-Key") { "scoped" } else { "nobody" };
                        assert_eq!(answer.text(), name, "{who}, {guard}, {ask}");
                    }
                }
            }
        }
    }
);
