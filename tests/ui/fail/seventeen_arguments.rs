use actix_web::{get, web::Bytes, App, Responder};
use api_key_runtime::require_app_key;

#[get("/orders")]
#[require_app_key]
async fn order(
    (_1, _2, _3, _4): (Bytes, Bytes, Bytes, Bytes),
    _5: Bytes,
    _6: Bytes,
    _7: Bytes,
    _8: Bytes,
    _9: Bytes,
    _10: Bytes,
    _11: Bytes,
    _12: Bytes,
    _13: Bytes,
    _14: Bytes,
    _15: Bytes,
    _16: Bytes,
    _17: Bytes,
    _18: Bytes,
    _19: Bytes,
    _20: Bytes,
) -> impl Responder {
    "order"
}

fn main() {
    let _ = App::new().service(order);
}
