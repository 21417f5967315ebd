use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

const READ: &str = "orders:read";

#[get("/orders")]
#[require_app_key(scopes = READ)]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
