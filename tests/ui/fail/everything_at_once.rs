use actix_web::{get, App};
use api_key_runtime::require_app_key;

#[require_app_key("orders:read", optional = true, role = "admin")]
#[require_app_key]
#[get("/orders")]
const unsafe extern "C" fn order(_id: impl Sized, _name: impl Sized) {}

fn main() {
    let _ = App::new().service(order);
}
