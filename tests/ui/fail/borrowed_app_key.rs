use actix_web::{get, App, Responder};
use api_key_runtime::{require_app_key, AppKey};

#[get("/orders")]
#[require_app_key]
async fn order(key: &AppKey) -> impl Responder {
    key.name().to_owned()
}

fn main() {
    let _ = App::new().service(order);
}
