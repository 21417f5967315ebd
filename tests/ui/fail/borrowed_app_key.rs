use actix_web::{get, App, Responder};
use api_key_runtime::{AppKey, require_app_key};

#[get("/orders")]
#[require_app_key]
async fn order(key: &AppKey) -> impl Responder {
    key.name().to_owned()
}

fn main() {
    let _ = App::new().service(order);
}
