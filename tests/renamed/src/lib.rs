//! Handlers guarded through a runtime that is called `renamed_keys` here, beside an actix-web
//! called `framework`: no path of what the attribute makes may begin with `api_key_runtime` or
//! `actix_web`. The suite serves them.

use framework::{HttpRequest, web};
use renamed_keys::{AppKey, require_app_key};

/// Called by each handler with its path.
type Ran = fn(&str);

/// By a path that the attribute and its argument give in full.
#[renamed_keys::require_app_key(crate = ::renamed_keys)]
pub async fn plain(request: HttpRequest, ran: web::Data<Ran>) -> String {
    ran(request.path());
    request.path().to_owned()
}

/// By a path as it is in reach.
#[require_app_key(crate = renamed_keys)]
pub async fn keyed(request: HttpRequest, key: AppKey, ran: web::Data<Ran>) -> String {
    ran(request.path());
    key.name().to_owned()
}

/// By a path in quotes.
#[require_app_key(crate = "renamed_keys", any_scope = "a b", optional)]
pub async fn quoted_and_optional() -> &'static str {
    "anybody"
}

/// By a path in quotes, for whoever has a key.
#[require_app_key(crate = "renamed_keys")]
pub async fn quoted(request: HttpRequest, ran: web::Data<Ran>) -> String {
    ran(request.path());
    request.path().to_owned()
}

/// What a framework of an application's own might export.
pub mod facade {
    pub use renamed_keys as keys;
}

/// By a path through another module.
#[facade::keys::require_app_key(crate = crate::facade::keys)]
pub async fn through_a_facade(request: HttpRequest, ran: web::Data<Ran>) -> String {
    ran(request.path());
    request.path().to_owned()
}

/// A handler that an application's own framework makes for it, wherever that application is.
#[macro_export]
macro_rules! made_elsewhere {
    ($name:ident) => {
        #[$crate::facade::keys::require_app_key(crate = $crate::facade::keys)]
        async fn $name(request: actix_web::HttpRequest) -> String {
            super::ran(request.path())
        }
    };
}

#[deny(unfulfilled_lint_expectations)]
mod expectations {
    use super::require_app_key;

    #[require_app_key(crate = renamed_keys)]
    #[expect(dead_code, reason = "nobody registers it, which the compiler notices")]
    async fn never_registered() -> &'static str {
        "never"
    }
}

/// Registers all of them.
pub fn routes(config: &mut web::ServiceConfig, paths: [&str; 4], ran: Ran) {
    let [first, second, third, fourth] = paths;
    config
        .app_data(web::Data::new(ran))
        .route(first, web::get().to(plain))
        .route(second, web::get().to(keyed))
        .route(third, web::get().to(quoted))
        .route(fourth, web::get().to(through_a_facade));
}
