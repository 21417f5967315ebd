use actix_web::{get, App};
use api_key_runtime::require_app_key;

#[get("/orders")]
#[require_app_key]
const fn order() -> std::future::Ready<&'static str> {
    std::future::ready("order")
}

fn main() {
    let _ = App::new().service(order);
}
