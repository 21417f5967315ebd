use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;
use utoipa::path;

#[require_app_key]
#[path(get, path = "/orders", responses((status = 200)))]
#[get("/orders")]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
