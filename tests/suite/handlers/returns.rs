//! Return types of handlers.

use std::{
    convert::Infallible,
    fmt,
    future::{self, Future, Ready, ready},
    pin::Pin,
};

use actix_web::{
    CustomizeResponder, Either, HttpRequest, HttpResponse, HttpResponseBuilder, Responder,
    ResponseError,
    body::{BoxBody, MessageBody},
    get,
    http::{StatusCode, header},
    web,
};
use api_key_runtime::{AppKey, require_app_key};

use super::{get, guarded, ran};
use crate::support::{Database, Server, http};

#[get("/future/impl")]
#[require_app_key]
fn impl_future() -> impl Future<Output = String> {
    future::ready(ran("/future/impl"))
}

#[get("/future/impl-of-impl")]
#[require_app_key]
#[allow(clippy::manual_async_fn, reason = "it is what is shown")]
fn impl_future_of_impl(
    number: web::Query<Vec<(String, u32)>>,
) -> impl Future<Output = impl Responder> {
    async move { format!("{} {}", ran("/future/impl-of-impl"), number[0].1) }
}

#[get("/future/ready")]
#[require_app_key]
fn ready_future() -> Ready<String> {
    ready(ran("/future/ready"))
}

#[get("/future/boxed")]
#[require_app_key]
fn boxed(request: HttpRequest) -> Pin<Box<dyn Future<Output = HttpResponse>>> {
    Box::pin(async move {
        actix_web::rt::task::yield_now().await;
        HttpResponse::Ok().body(ran(request.path()))
    })
}

// B13
#[test]
fn a_handler_may_be_async_or_return_a_future() {
    guarded(
        |config| {
            config
                .service(impl_future)
                .service(impl_future_of_impl)
                .service(ready_future)
                .service(boxed);
        },
        &[
            get("/future/impl"),
            get("/future/impl-of-impl")
                .at("/future/impl-of-impl?n=7")
                .answers(200, "/future/impl-of-impl 7"),
            get("/future/ready"),
            get("/future/boxed"),
        ],
    );
}

/// An application's own error.
#[derive(Debug)]
struct Spoilt;

impl fmt::Display for Spoilt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("spoilt")
    }
}

impl ResponseError for Spoilt {
    fn status_code(&self) -> StatusCode {
        StatusCode::GONE
    }
}

/// An application's own responder, whose body is not boxed.
struct Plate(String);

impl Responder for Plate {
    type Body = String;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse<String> {
        HttpResponse::Ok().message_body(self.0).unwrap()
    }
}

macro_rules! returning {
    ($($name:ident $path:literal -> $output:ty = |$text:ident| $body:expr;)*) => {
        $(
            #[get($path)]
            #[require_app_key]
            async fn $name() -> $output {
                let $text = ran($path);
                $body
            }
        )*

        fn routes(config: &mut web::ServiceConfig) {
            config$(.service($name))*;
        }
    };
}

returning! {
    responder "/returns/responder" -> impl Responder = |text| text;
    result_of_responder "/returns/result-of-responder" -> Result<impl Responder, Spoilt> = |text| Ok(text);
    result_of_response "/returns/result-of-response" -> Result<HttpResponse, Spoilt> = |text| Ok(HttpResponse::Created().body(text));
    failure "/returns/failure" -> Result<HttpResponse, Spoilt> = |_text| Err(Spoilt);
    unit "/returns/unit" -> Result<(), Spoilt> = |_text| Ok(());
    actix_result "/returns/actix-result" -> actix_web::Result<String> = |text| Ok(text);
    unfailing "/returns/unfailing" -> Result<String, Infallible> = |text| Ok(text);
    response "/returns/response" -> HttpResponse<BoxBody> = |text| HttpResponse::Ok().body(text);
    typed_response "/returns/typed-response" -> HttpResponse<String> = |text| HttpResponse::Ok().message_body(text).unwrap();
    builder "/returns/builder" -> HttpResponseBuilder = |_text| HttpResponse::Accepted();
    some "/returns/some" -> Option<String> = |text| Some(text);
    none "/returns/none" -> Option<String> = |_text| None;
    left "/returns/left" -> Either<String, HttpResponse> = |text| Either::Left(text);
    right "/returns/right" -> Either<String, HttpResponse> = |text| Either::Right(HttpResponse::Created().body(text));
    with_status "/returns/with-status" -> (String, StatusCode) = |text| (text, StatusCode::ACCEPTED);
    customized "/returns/customized" -> CustomizeResponder<String> = |text| text.customize().with_status(StatusCode::IM_A_TEAPOT);
    string "/returns/string" -> String = |text| text;
    static_string "/returns/static-string" -> &'static str = |_text| "static";
    bytes "/returns/bytes" -> web::Bytes = |text| web::Bytes::from(text);
    vector "/returns/vector" -> Vec<u8> = |text| text.into_bytes();
    json "/returns/json" -> web::Json<(u8, String)> = |text| web::Json((1, text));
    redirect "/returns/redirect" -> web::Redirect = |_text| web::Redirect::to("/elsewhere");
    own "/returns/own" -> Plate = |text| Plate(text);
    nested "/returns/nested" -> Result<Option<(Either<&'static str, Plate>, StatusCode)>, Spoilt> =
        |text| Ok(Some((Either::Right(Plate(text)), StatusCode::CREATED)));
    opaque_body "/returns/opaque-body" -> HttpResponse<impl MessageBody + use<>> =
        |text| HttpResponse::Ok().message_body(text).unwrap();
}

// B13
#[test]
fn the_return_value_of_a_handler_is_the_response() {
    guarded(
        routes,
        &[
            get("/returns/responder"),
            get("/returns/result-of-responder"),
            get("/returns/result-of-response").answers(201, "/returns/result-of-response"),
            get("/returns/failure").answers(410, "spoilt"),
            get("/returns/unit").answers(204, ""),
            get("/returns/actix-result"),
            get("/returns/unfailing"),
            get("/returns/response"),
            get("/returns/typed-response"),
            get("/returns/builder").answers(202, ""),
            get("/returns/some"),
            get("/returns/none").answers(404, ""),
            get("/returns/left"),
            get("/returns/right").answers(201, "/returns/right"),
            get("/returns/with-status").answers(202, "/returns/with-status"),
            get("/returns/customized").answers(418, "/returns/customized"),
            get("/returns/string"),
            get("/returns/static-string").answers(200, "static"),
            get("/returns/bytes"),
            get("/returns/vector"),
            get("/returns/json").answers(200, r#"[1,"/returns/json"]"#),
            get("/returns/redirect").answers(307, ""),
            get("/returns/own"),
            get("/returns/nested").answers(201, "/returns/nested"),
            get("/returns/opaque-body"),
        ],
    );
}

/// The handlers of `copies` without the attribute, for comparison.
mod unguarded {
    use super::*;

    pub(super) async fn unit() -> Result<(), Spoilt> {
        Ok(())
    }

    pub(super) async fn failure() -> Result<HttpResponse, Spoilt> {
        Err(Spoilt)
    }

    pub(super) async fn customized() -> CustomizeResponder<&'static str> {
        "text"
            .customize()
            .insert_header((header::ETAG, "\"1\""))
            .append_header((header::SET_COOKIE, "a=1"))
            .append_header((header::SET_COOKIE, "b=2"))
    }

    pub(super) async fn json() -> web::Json<[u8; 2]> {
        web::Json([1, 2])
    }
}

macro_rules! guarded_copies {
    ($($name:ident: $output:ty;)*) => {
        $(
            #[require_app_key]
            async fn $name() -> $output {
                unguarded::$name().await
            }
        )*
    };
}

mod copies {
    use super::*;

    guarded_copies! {
        unit: Result<(), Spoilt>;
        failure: Result<HttpResponse, Spoilt>;
        customized: CustomizeResponder<&'static str>;
        json: web::Json<[u8; 2]>;
    }

    pub(super) fn routes(config: &mut web::ServiceConfig) {
        config
            .route("/unit", web::get().to(unit))
            .route("/failure", web::get().to(failure))
            .route("/customized", web::get().to(customized))
            .route("/json", web::get().to(json));
    }
}

// B13, D5
#[test]
fn the_attribute_only_adds_cache_headers() {
    let database = Database::sqlite();
    let guarded = Server::start(database.keys(), copies::routes);
    let bare = Server::configured(|config| {
        config
            .route("/unit", web::get().to(unguarded::unit))
            .route("/failure", web::get().to(unguarded::failure))
            .route("/customized", web::get().to(unguarded::customized))
            .route("/json", web::get().to(unguarded::json));
    });
    let (key, _) = database.issue("0.0.0.0");
    for path in ["/unit", "/failure", "/customized", "/json"] {
        let mut answer = http::get_with(guarded.address, path, &key).without_date();
        let added = ["cache-control", "vary"];
        assert_eq!(answer.header(added[0]), Some("private"), "{path}");
        assert!(answer.header(added[1]).is_some(), "{path}");
        answer.headers.retain(|(name, _)| !added.contains(&name.as_str()));
        let mut expected = http::get(bare.address, path, &[]).without_date();
        for headers in [&mut answer.headers, &mut expected.headers] {
            headers.sort();
        }
        assert_eq!(answer, expected, "{path}");
    }
}

#[get("/optional")]
#[require_app_key(optional)]
async fn optional(_: HttpRequest, key: Option<AppKey>, _: HttpRequest) -> String {
    let name = key.as_ref().map_or("anonymous", AppKey::name);
    format!("{} {name}", ran("/optional"))
}

// B3
#[test]
fn an_optional_handler_gets_the_key_if_there_is_one() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        config.service(optional);
    });
    let (key, _) = database.issue("0.0.0.0");
    let answer = http::get(server.address, "/optional", &[]);
    assert_eq!((answer.status, answer.text()), (200, "/optional anonymous".to_owned()));
    let answer = http::get_with(server.address, "/optional", &key);
    assert_eq!((answer.status, answer.text()), (200, "/optional test".to_owned()));
    let answer = http::get_with(server.address, "/optional", &crate::support::fixtures::unknown());
    assert_eq!((answer.status, super::runs("/optional")), (401, 2));
}
