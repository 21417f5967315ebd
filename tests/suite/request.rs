//! What a caller presents, and what it is answered.

use actix_web::{HttpResponse, get, web};
use api_key_runtime::{AppKey, require_app_key};

use crate::support::{Server, database_test, http};

#[get("/cake")]
#[require_app_key]
async fn cake(key: AppKey) -> HttpResponse {
    HttpResponse::Ok().body(format!("cake for {}", key.id()))
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(cake);
}

// B1
database_test!(a_key_in_the_table_opens_the_route, |database| {
    let server = Server::start(database.keys(), routes);
    let (key, id) = database.issue("0.0.0.0");
    let answer = http::get_with(server.address, "/cake", &key);
    assert_eq!(
        (answer.status, answer.text()),
        (200, format!("cake for {id}"))
    );
    assert_eq!(
        http::get(server.address, "/cake", &[&format!("X-API-Key: {key}")]).status,
        200
    );
    assert_eq!(http::get(server.address, "/cake", &[]).status, 401);
});
