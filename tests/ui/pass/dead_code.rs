//! Unused code is still reported as unused.

use actix_web::Responder;
use api_key_runtime::require_app_key;

#[require_app_key]
#[expect(dead_code, reason = "the handler is not registered")]
async fn never_registered() -> impl Responder {
    "never"
}

#[require_app_key]
pub(crate) async fn calls_all_it_has() -> impl Responder {
    #[expect(dead_code, reason = "the function is not called")]
    const fn never_called() {}
    helper()
}

const fn helper() -> &'static str {
    "used by a handler's body alone"
}
