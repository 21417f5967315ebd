use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

#[get("/orders")]
#[require_app_key(scopes = "orders:read,orders:write")]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
