use actix_web::{get, App};
use api_key_runtime::require_app_key;

#[require_app_key]
#[get("/orders")]
async fn order() {
    println!("order");
}

fn main() {
    let _ = App::new().service(order);
}
