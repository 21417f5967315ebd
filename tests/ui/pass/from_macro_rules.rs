//! Handlers that a `macro_rules!` macro defines.

use actix_web::Responder;
use api_key_runtime::require_app_key;

macro_rules! handler {
    ($route:meta, $scopes:literal, $vis:vis $name:ident($($argument:pat => $ty:ty),*) -> $output:ty $body:block) => {
        #[$route]
        #[require_app_key(scopes = $scopes)]
        $vis async fn $name($($argument: $ty),*) -> $output $body
    };
}

handler!(
    actix_web::get("/made"),
    "orders:read",
    pub(crate) made(body => String) -> impl Responder {
        body
    }
);

macro_rules! below {
    ($name:ident, $path:literal) => {
        #[require_app_key]
        #[actix_web::get($path)]
        pub(crate) async fn $name() -> impl Responder {
            $path
        }
    };
}

below!(first, "/first");
below!(second, "/second");
