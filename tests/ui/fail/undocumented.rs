#![deny(missing_docs)]
//! A crate in which only the handler lacks documentation.

use actix_web::Responder;
use api_key_runtime::require_app_key;

#[require_app_key]
pub async fn order() -> impl Responder {
    "order"
}

fn main() {}
