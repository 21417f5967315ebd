use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

struct Order;

#[get("/orders")]
#[require_app_key]
async fn order(_order: Order) -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
