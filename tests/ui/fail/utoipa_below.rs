use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

#[require_app_key]
#[utoipa::path(get, path = "/orders", responses((status = 200)))]
#[get("/orders")]
async fn order() -> impl Responder {
    "order"
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(order))]
struct Document;

fn main() {
    let _ = App::new().service(order);
}
