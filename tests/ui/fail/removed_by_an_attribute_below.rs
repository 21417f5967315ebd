use actix_web::{get, App};
use api_key_runtime::require_app_key;

#[get("/orders")]
#[require_app_key]
#[test]
async fn order() -> impl actix_web::Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
