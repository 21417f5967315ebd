//! Which `AppKeys` apply to the middleware, depending on where both are registered.

use actix_web::web;

use super::{ANY_KEY, Touched, cake};
use crate::support::{Database, Server, fixtures::unknown, http, log};

// A12, D1
#[test]
fn without_app_keys_everything_is_500() {
    let touched = Touched::default();
    let counting = touched.clone();
    let server = Server::configured(move |config| {
        config.app_data(counting.clone()).service(
            web::scope("/unconfigured-middleware")
                .wrap(ANY_KEY)
                .route("/cakes/{id}", web::get().to(cake)),
        );
    });
    let target = "/unconfigured-middleware/cakes/1";
    assert_eq!(http::get(server.address, target, &[]).status, 500);
    assert_eq!(http::get_with(server.address, target, &unknown()).status, 500);
    assert_eq!(touched.count(), 0);
    let lines = log::lines_with("/unconfigured-middleware/cakes/{id} has");
    assert!(
        lines.len() == 1
            && lines[0].contains("no AppKeys")
            && lines[0].contains("to the scope of the route"),
        "{lines:?}"
    );
}

// A12
#[test]
fn keys_of_an_inner_scope_do_not_reach_the_middleware() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let touched = Touched::default();
    let counting = touched.clone();
    let server = Server::configured(move |config| {
        let inside = web::scope("/inside").app_data(keys.clone()).route("", web::get().to(cake));
        config
            .app_data(counting.clone())
            .service(web::scope("/outside").wrap(ANY_KEY).service(inside));
    });
    assert_eq!(http::get_with(server.address, "/outside/inside", &key).status, 500);
    assert_eq!(touched.count(), 0);
}

// A12
#[test]
fn keys_of_the_wrapped_scope_reach_the_middleware() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let server = Server::configured(move |config| {
        let keys = || keys.clone();
        config
            .service(
                web::scope("/before").app_data(keys()).wrap(ANY_KEY).route("", web::get().to(cake)),
            )
            .service(
                web::scope("/after")
                    .wrap(ANY_KEY)
                    .app_data(web::Data::new(keys()))
                    .route("", web::get().to(cake)),
            )
            .service(web::resource("/resource").wrap(ANY_KEY).app_data(keys()).to(cake))
            // Inner scopes add their data to the request. actix-web panics at this point if the
            // middleware still holds a clone of the request.
            .service(
                web::scope("/deep").app_data(keys()).wrap(ANY_KEY).service(
                    web::scope("")
                        .app_data(1_u8)
                        .service(web::scope("").app_data(2_u16).route("", web::get().to(cake))),
                ),
            );
    });
    for path in ["/before", "/after", "/resource", "/deep"] {
        assert_eq!(http::get(server.address, path, &[]).status, 401, "{path}");
        assert_eq!(http::get_with(server.address, path, &key).status, 200, "{path}");
    }
}
