//! Handlers of a package that renames its dependencies: the runtime is `renamed_keys`, and
//! actix-web is `framework`. The generated code must not contain a path that begins with
//! `api_key_runtime` or `actix_web`. The suite serves these handlers.

use framework::{HttpRequest, web};
use renamed_keys::{AppKey, require_app_key};

/// A function that handlers call with the path of the request.
type Ran = fn(&str);

/// Names the attribute by its path, and passes an absolute path as the argument.
#[renamed_keys::require_app_key(crate = ::renamed_keys)]
pub async fn plain(request: HttpRequest, ran: web::Data<Ran>) -> String {
    ran(request.path());
    request.path().to_owned()
}

/// Passes a path that is relative to this module.
#[require_app_key(crate = renamed_keys)]
pub async fn keyed(request: HttpRequest, key: AppKey, ran: web::Data<Ran>) -> String {
    ran(request.path());
    key.name().to_owned()
}

/// Passes a quoted path, scopes and `optional`.
#[require_app_key(crate = "renamed_keys", any_scope = "a b", optional)]
pub async fn quoted_and_optional() -> &'static str {
    "anybody"
}

/// Passes a quoted path, and requires a key.
#[require_app_key(crate = "renamed_keys")]
pub async fn quoted(request: HttpRequest, ran: web::Data<Ran>) -> String {
    ran(request.path());
    request.path().to_owned()
}

/// Re-exports, as an application's own framework would have them.
pub mod facade {
    pub use renamed_keys as keys;
}

/// Passes a path through another module.
#[facade::keys::require_app_key(crate = crate::facade::keys)]
pub async fn through_a_facade(request: HttpRequest, ran: web::Data<Ran>) -> String {
    ran(request.path());
    request.path().to_owned()
}

/// Defines a handler, as a macro of a framework would in an application.
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
    #[expect(dead_code, reason = "the handler is not registered")]
    async fn never_registered() -> &'static str {
        "never"
    }
}

/// Registers all handlers.
pub fn routes(config: &mut web::ServiceConfig, paths: [&str; 4], ran: Ran) {
    let [first, second, third, fourth] = paths;
    config
        .app_data(web::Data::new(ran))
        .route(first, web::get().to(plain))
        .route(second, web::get().to(keyed))
        .route(third, web::get().to(quoted))
        .route(fourth, web::get().to(through_a_facade));
}
