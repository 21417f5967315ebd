use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

#[get("/orders")]
#[require_app_key]
async fn order() -> impl Responder {
    let name: &str = 1;
    name.no_such_method()
}

fn main() {
    let _ = App::new().service(order);
}
