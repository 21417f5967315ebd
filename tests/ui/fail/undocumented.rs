#![deny(missing_docs)]
//! Documented, except for the handler.

use actix_web::Responder;
use api_key_runtime::require_app_key;

#[require_app_key]
pub async fn order() -> impl Responder {
    "order"
}

fn main() {}
