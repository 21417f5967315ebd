//! Handlers that macros generate.

use actix_web::{HttpRequest, web};
use api_key_runtime::require_app_key;

use super::{get, guarded, ran};

/// Defines a handler. Each part is passed as a fragment of its own kind.
macro_rules! by_fragments {
    (
        #[$route:meta] $(#[$attribute:meta])* $visibility:vis $name:ident
        ($($pattern:pat => $argument:ty),*) -> $output:ty $body:block
    ) => {
        #[$route]
        #[require_app_key]
        $(#[$attribute])*
        $visibility async fn $name($($pattern: $argument),*) -> $output $body
    };
}

by_fragments! {
    #[actix_web::get("/made/fragments/{a}")]
    #[doc = "Made."]
    #[allow(unused_variables)]
    pub(super) fragments((a, _) => (web::Path<u32>, HttpRequest), _ => HttpRequest) -> String {
        format!("{} {a}", ran("/made/fragments"))
    }
}

macro_rules! by_fragments_above {
    ($route:ident $path:literal $name:ident $body:expr) => {
        #[require_app_key]
        #[$route($path)]
        pub(super) async fn $name() -> String {
            $body
        }
    };
}

mod above {
    use actix_web::get;

    use super::*;

    by_fragments_above!(get "/made/above" from_above ran("/made/above"));
}

/// Defines a handler that is passed as a whole, as one item or token by token.
macro_rules! whole {
    (item $item:item) => {
        #[require_app_key]
        $item
    };
    (tokens $($token:tt)*) => {
        #[require_app_key]
        $($token)*
    };
}

whole! {
    item
    #[actix_web::get("/made/item")]
    async fn from_item() -> String {
        ran("/made/item")
    }
}

whole! {
    tokens
    #[actix_web::get("/made/tokens")]
    async fn from_tokens() -> String {
        ran("/made/tokens")
    }
}

/// Defines a handler with two arguments of equal name: one name comes from the caller, the other
/// from the macro. The body uses both arguments.
macro_rules! two_contexts {
    ($name:ident $argument:ident $path:expr, $scope:literal, $body:expr) => {
        #[require_app_key(any_scope = $scope, optional)]
        async fn $name($argument: HttpRequest, request: web::Query<Vec<(String, u32)>>) -> String {
            format!("{} {} {}", ran($path), $body, request.len())
        }
    };
}

two_contexts!(contexts request "/made/contexts", "cakes:read", request.method());

/// Defines a macro and a handler inside a function.
fn made_inside(config: &mut web::ServiceConfig) {
    macro_rules! inside {
        ($name:ident) => {
            #[require_app_key]
            async fn $name() -> String {
                ran("/made/inside")
            }
        };
    }

    inside!(within);
    config.route("/made/inside", web::get().to(within));
}

// B13
#[test]
fn handlers_made_by_macros_are_guarded() {
    guarded(
        |config| {
            config
                .service(fragments)
                .service(above::from_above)
                .service(from_item)
                .service(from_tokens)
                .configure(made_inside);
        },
        &[
            get("/made/fragments").at("/made/fragments/7").answers(200, "/made/fragments 7"),
            get("/made/above"),
            get("/made/item"),
            get("/made/tokens"),
            get("/made/inside"),
        ],
    );
}

// B13
#[test]
fn equal_names_of_a_macro_and_its_caller_stay_different() {
    let database = crate::support::Database::sqlite();
    let server = crate::support::Server::start(database.keys(), |config| {
        config.route("/made/contexts", web::get().to(contexts));
    });
    let answer = crate::support::http::get(server.address, "/made/contexts?a=1&b=2", &[]);
    assert_eq!((answer.status, answer.text()), (200, "/made/contexts GET 2".to_owned()));
}
