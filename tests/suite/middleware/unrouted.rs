//! Requests that are checked before actix-web looks for a route. A request without a route is
//! checked too.

use actix_web::{App, HttpServer, web};

use super::{ANY_KEY, Touched, bearer, cake};
use crate::support::{Database, Server, http, log};

// B8, B11, B12
#[test]
fn around_an_application_every_request_is_checked() {
    let database = Database::sqlite();
    let (keys, touched) = (database.keys(), Touched::default());
    let (key, _) = database.issue("0.0.0.0");
    let counting = touched.clone();
    let server = Server::built(move || {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(keys.clone())
                .app_data(counting.clone())
                .wrap(ANY_KEY)
                .route("/cake", web::get().to(cake))
                .service(web::scope("/inside").default_service(web::to(cake)))
                .default_service(web::to(cake))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        (server.addrs()[0], server.run())
    });
    let targets = [
        "/",
        "/cake",
        "/inside",
        "/inside/x",
        "/nowhere",
        "//cake",
        "/%63ake",
        "/./cake",
        "/x/../cake",
        "/cake/",
        "/cake%2f",
        "http://localhost/cake",
        "*",
    ];
    for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "QUERY", "BREW"] {
        for target in targets {
            let status = http::request(server.address, method, target, &[]).status;
            // actix-web itself rejects a target that is not a path.
            assert!(
                status == 401 || (target == "*" && status == 400),
                "{method} {target}: {status}"
            );
        }
    }
    assert_eq!(touched.count(), 0);
    for target in ["/cake", "/inside/x", "/nowhere"] {
        assert_eq!(http::get_with(server.address, target, &key).status, 200, "{target}");
    }
    assert_eq!(touched.count(), 3);
}

// B11, B12
#[test]
fn missing_paths_in_a_guarded_scope_need_a_key_as_well() {
    let database = Database::sqlite();
    let (keys, touched) = (database.keys(), Touched::default());
    let (key, _) = database.issue("0.0.0.0");
    let counting = touched.clone();
    let server = Server::configured(move |config| {
        config
            .app_data(keys.clone())
            .app_data(counting.clone())
            .service(web::scope("/plain").wrap(ANY_KEY).route("/cake", web::get().to(cake)))
            .service(web::scope("/default").wrap(ANY_KEY).default_service(web::to(cake)))
            .service(
                web::resource("/resource")
                    .wrap(ANY_KEY)
                    .route(web::get().to(cake))
                    .default_service(web::to(cake)),
            );
    });
    let unguarded = |method: &str, target: &str| {
        let status = http::request(server.address, method, target, &[]).status;
        assert_eq!(status, 401, "{method} {target}");
        assert_eq!(touched.count(), 0, "{method} {target}");
    };
    for method in ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "QUERY", "BREW"] {
        for target in [
            "/plain",
            "/plain/",
            "/plain/cake",
            "/plain/nowhere",
            "/plain//cake",
            "/plain/%2e%2e/cake",
            "/%70lain/cake",
            "/default",
            "/default/nowhere",
            "/resource",
        ] {
            unguarded(method, target);
        }
    }
    let with_key = |method: &str, target: &str| {
        http::request(server.address, method, target, &[&bearer(&key)]).status
    };
    assert_eq!(with_key("GET", "/plain/nowhere"), 404);
    assert_eq!(with_key("POST", "/plain/cake"), 404);
    assert_eq!(with_key("GET", "/default/nowhere"), 200);
    assert_eq!(with_key("BREW", "/resource"), 200);
}

// G3, G4
#[test]
fn the_log_names_the_template_of_the_route_and_never_the_path() {
    let database = Database::sqlite();
    let keys = database.keys();
    let server = Server::configured(move |config| {
        config.app_data(keys.clone()).service(
            web::scope("/logged-scope").wrap(ANY_KEY).route("/cakes/{id}", web::get().to(cake)),
        );
    });
    for path in ["/logged-scope/cakes/raw-part", "/logged-scope/raw-part"] {
        assert_eq!(http::get(server.address, path, &[]).status, 401);
    }
    let line = "127.0.0.1 (no key, GET /logged-scope/cakes/{id})";
    assert_eq!(log::lines_with(line).len(), 1);
    let warned: Vec<String> = log::lines_with("raw-part")
        .into_iter()
        .filter(|line| line.contains(" app_key: "))
        .collect();
    assert!(warned.is_empty(), "{warned:?}");
}
