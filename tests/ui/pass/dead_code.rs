//! What nobody uses is still said to be unused.

use actix_web::Responder;
use api_key_runtime::require_app_key;

#[require_app_key]
#[expect(dead_code, reason = "nobody registers it")]
async fn never_registered() -> impl Responder {
    "never"
}

#[require_app_key]
pub(crate) async fn calls_all_it_has() -> impl Responder {
    #[expect(dead_code, reason = "nobody calls it")]
    const fn never_called() {}
    helper()
}

const fn helper() -> &'static str {
    "used by a handler's body alone"
}
