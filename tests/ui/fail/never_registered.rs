#![deny(dead_code)]

use actix_web::{App, Responder};
use api_key_runtime::require_app_key;

#[require_app_key]
async fn order() -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new();
}
