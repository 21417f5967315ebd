use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

#[get("/orders")]
#[require_app_key]
#[utoipa::path(get, path = "/orders", responses((status = 200)))]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
