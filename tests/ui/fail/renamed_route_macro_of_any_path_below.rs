use actix_web::{get as fetch, App, Responder};
use api_key_runtime::require_app_key;

#[require_app_key]
#[fetch("{rest:.*}")]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
