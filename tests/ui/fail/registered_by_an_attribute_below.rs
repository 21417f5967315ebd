use actix_web::Responder;
use api_key_runtime::require_app_key;
use utoipa::path as describe;

#[require_app_key]
#[describe(get, path = "/orders", responses((status = 200)))]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = order;
}
