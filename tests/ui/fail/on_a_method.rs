use actix_web::{App, Responder, web};
use api_key_runtime::require_app_key;

#[derive(Clone)]
struct Orders;

impl Orders {
    #[require_app_key]
    async fn order(self) -> impl Responder {
        "order"
    }
}

fn main() {
    let _ = App::new().route("/orders", web::get().to(|| Orders.order()));
}
