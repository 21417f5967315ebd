//! Handlers whose names also occur in generated code, and the strictest lints.

use actix_web::web;

use super::{get, guarded, ran};

/// Arguments, functions and statics with names that the macro generates or that the runtime
/// defines.
#[allow(non_snake_case, clippy::used_underscore_binding, clippy::too_many_arguments)]
mod namesakes {
    use actix_web::{HttpRequest, get, web};
    use api_key_runtime::{AppKey, require_app_key};

    use super::super::ran;

    type Q = web::Query<Vec<(String, u32)>>;

    #[get("/names/arguments")]
    #[require_app_key]
    pub(super) async fn arguments(
        __request: HttpRequest,
        __payload: Q,
        POLICY: Q,
        request: HttpRequest,
        payload: Q,
        handler: Q,
        policy: Q,
        authenticated: AppKey,
        __arguments_request: HttpRequest,
    ) -> String {
        drop((payload, handler, policy, request));
        format!(
            "{} {} {} {}",
            ran(__request.path()),
            __payload.len() + POLICY.len(),
            authenticated.name(),
            __arguments_request.method()
        )
    }

    #[require_app_key]
    pub(super) async fn POLICY(request: HttpRequest) -> String {
        ran(request.path())
    }

    #[require_app_key]
    pub(super) async fn authenticated(request: HttpRequest) -> String {
        ran(request.path())
    }

    #[require_app_key]
    pub(super) async fn require_app_key_(request: HttpRequest) -> String {
        ran(request.path())
    }

    #[require_app_key]
    pub(super) async fn main(main: HttpRequest) -> String {
        ran(main.path())
    }

    #[require_app_key]
    pub(super) async fn größe(request: HttpRequest) -> String {
        ran(request.path())
    }
}

/// Route macros turn these handlers into structs, so no argument in this module can have the name
/// of a handler.
mod structs {
    use actix_web::{HttpRequest, get, web};
    use api_key_runtime::require_app_key;

    use super::super::ran;

    #[get("/names/__request")]
    #[require_app_key]
    pub(super) async fn __request(request: HttpRequest) -> String {
        ran(request.path())
    }

    #[require_app_key]
    #[get("/names/__payload")]
    pub(super) async fn __payload(request: HttpRequest) -> String {
        ran(request.path())
    }

    #[get("/names/type/{type}")]
    #[require_app_key]
    pub(super) async fn r#type(r#type: web::Path<u32>) -> String {
        format!("{} {}", ran("/names/type"), r#type)
    }

    #[require_app_key]
    #[get("/names/async")]
    pub(super) async fn r#async() -> String {
        ran("/names/async")
    }
}

/// Statics and constants, in a separate module, because no argument can have the name of a static
/// or a constant.
#[allow(non_upper_case_globals, dead_code)]
mod statics {
    use actix_web::HttpRequest;
    use api_key_runtime::require_app_key;

    pub(super) static __request: u8 = 0;
    pub(super) const __payload: u8 = 0;
    pub(super) static POLICY: u8 = 7;
    pub(super) static authenticated: u8 = 0;

    #[require_app_key]
    pub(super) async fn beside_statics(request: HttpRequest) -> String {
        // `POLICY` is the static above, not the generated policy.
        format!("{} {POLICY}", super::ran(request.path()))
    }
}

// B13
#[test]
fn a_handler_and_its_arguments_may_have_any_name() {
    guarded(
        |config| {
            config
                .service(namesakes::arguments)
                .service(structs::__request)
                .service(structs::__payload)
                .service(structs::r#type)
                .service(structs::r#async)
                .route("/names/policy", web::get().to(namesakes::POLICY))
                .route("/names/authenticated", web::get().to(namesakes::authenticated))
                .route("/names/attribute", web::get().to(namesakes::require_app_key_))
                .route("/names/main", web::get().to(namesakes::main))
                .route("/names/letters", web::get().to(namesakes::größe))
                .route("/names/statics", web::get().to(statics::beside_statics));
        },
        &[
            get("/names/arguments")
                .at("/names/arguments?a=1")
                .answers(200, "/names/arguments 2 test GET"),
            get("/names/__request"),
            get("/names/__payload"),
            get("/names/policy"),
            get("/names/authenticated"),
            get("/names/attribute"),
            get("/names/main"),
            get("/names/type").at("/names/type/7").answers(200, "/names/type 7"),
            get("/names/async"),
            get("/names/letters"),
            get("/names/statics").answers(200, "/names/statics 7"),
        ],
    );
}

/// Modules and types with names that generated code is likely to use.
#[allow(dead_code, clippy::module_inception)]
mod hostile {
    mod core {}
    mod std {}
    mod alloc {}
    mod actix_web {}
    mod api_key_runtime {}
    mod api_key_macros {}

    struct Result;
    struct Option;
    struct Box;
    struct Pin;
    struct String;
    struct Send;
    struct Policy;
    struct HttpRequest;
    struct HttpResponse;
    struct Payload;
    struct BoxFuture;
    struct Error;
    trait Future {}
    trait Fn {}
    trait Sized {}
    trait FromRequest {}
    trait Handler {}
    trait Responder {}

    #[allow(non_snake_case)]
    fn Some() {}
    #[allow(non_snake_case)]
    fn Ok() {}
    #[allow(non_snake_case)]
    fn Err() {}
    fn authenticated() {}

    type Text = ::std::string::String;

    #[::api_key_runtime::require_app_key(scopes = "a", optional)]
    pub(super) async fn refusing() -> Text {
        super::ran("/hostile/refusing")
    }

    #[::api_key_runtime::require_app_key]
    pub(super) async fn plain(request: ::actix_web::HttpRequest) -> Text {
        super::ran(request.path())
    }

    #[::api_key_runtime::require_app_key]
    pub(super) async fn generic<T, const N: usize>(
        request: ::actix_web::HttpRequest,
        _: ::actix_web::web::Query<::std::vec::Vec<(Text, T)>>,
    ) -> Text
    where
        T: Copy + ::serde::de::DeserializeOwned,
    {
        super::ran(request.path())
    }

    pub(super) mod nested {
        pub(in super::super) mod deeper {
            #[::actix_web::get("/hostile/deeper")]
            #[::api_key_runtime::require_app_key]
            pub(in super::super::super) async fn handler() -> super::super::Text {
                super::super::super::ran("/hostile/deeper")
            }
        }
    }
}

// B13
#[test]
fn modules_and_types_near_a_handler_may_have_any_name() {
    guarded(
        |config| {
            config
                .route("/hostile/plain", web::get().to(hostile::plain))
                .route("/hostile/generic", web::get().to(hostile::generic::<u8, 3>))
                .service(hostile::nested::deeper::handler);
            let _ = web::get().to(hostile::refusing);
        },
        &[get("/hostile/plain"), get("/hostile/generic"), get("/hostile/deeper")],
    );
}

/// The strictest lints. The generated code must not cause a warning.
#[deny(warnings, missing_docs, unused, unreachable_pub, let_underscore)]
#[deny(elided_lifetimes_in_paths, unused_lifetimes, unused_qualifications, single_use_lifetimes)]
#[deny(
    missing_debug_implementations,
    missing_copy_implementations,
    trivial_casts,
    unnameable_types
)]
#[deny(unused_results, variant_size_differences, redundant_lifetimes)]
#[deny(clippy::all, clippy::pedantic)]
#[forbid(unsafe_code)]
pub(crate) mod strict {
    use actix_web::{HttpRequest, get};
    use api_key_runtime::require_app_key;

    use super::ran;

    /// Documented.
    #[get("/strict/below")]
    #[require_app_key(scopes = "a", any_scope = "b c", optional)]
    pub(super) async fn optional() -> String {
        ran("/strict/optional")
    }

    /// Documented.
    #[require_app_key]
    #[get("/strict/above")]
    pub(super) async fn above(request: HttpRequest) -> String {
        ran(request.path())
    }

    /// Documented.
    #[require_app_key]
    pub(super) async fn generic<T, const N: usize>(request: HttpRequest) -> String
    where
        T: Default + ToString,
    {
        format!("{} {}{N}", ran(request.path()), T::default().to_string())
    }
}

// B13
#[test]
fn the_strictest_lints_find_nothing_in_generated_code() {
    guarded(
        |config| {
            config
                .service(strict::above)
                .route("/strict/generic", web::get().to(strict::generic::<u8, 3>));
            let _ = strict::optional;
        },
        &[get("/strict/above"), get("/strict/generic").answers(200, "/strict/generic 03")],
    );
}
