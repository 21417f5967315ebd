use actix_web::App;
use api_key_runtime::require_app_key;

#[require_app_key]
mod orders {
    #[actix_web::get("/orders")]
    pub async fn order() -> impl actix_web::Responder {
        "order"
    }
}

fn main() {
    let _ = App::new().service(orders::order);
}
