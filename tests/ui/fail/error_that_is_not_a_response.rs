use actix_web::{get, App, Responder};
use api_key_runtime::require_app_key;

struct Failed;

#[get("/orders")]
#[require_app_key]
async fn order() -> Result<impl Responder, Failed> {
    Ok("order")
}

fn main() {
    let _ = App::new().service(order);
}
