use actix_web::{get, App};
use api_key_runtime::require_app_key;

struct Order;

#[get("/orders")]
#[require_app_key]
async fn order() -> Order {
    Order
}

fn main() {
    let _ = App::new().service(order);
}
