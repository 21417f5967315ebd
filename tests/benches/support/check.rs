//! The check without a server. This module builds requests as a server would pass them to a guarded
//! handler, and calls the function that such a handler awaits first.

use std::{cell::RefCell, future::ready, rc::Rc};

use actix_web::{
    App, HttpRequest, HttpResponse, Responder as _,
    http::{
        StatusCode,
        header::{
            ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, HOST, HeaderValue, USER_AGENT,
            VARY,
        },
    },
    test::{TestRequest, call_service, init_service},
    web,
};
use api_key_runtime::{__private::Policy, AppKeys, test_util::bench};

use super::Key;

/// The policy of `#[require_app_key]` without arguments.
static POLICY: Policy = Policy::new();

/// Returns the request of a typical client with this key as `Authorization: Bearer`.
pub(crate) fn request(keys: &AppKeys, key: &str) -> HttpRequest {
    sent(key).app_data(keys.clone()).to_http_request()
}

/// Returns one request for each of these keys. All requests come from one application, so they
/// share its data.
pub(crate) async fn requests(keys: &AppKeys, presented: &[Key]) -> Vec<HttpRequest> {
    let handed_over = Rc::new(RefCell::new(Vec::new()));
    let handler = {
        let handed_over = Rc::clone(&handed_over);
        move |request: HttpRequest| {
            handed_over.borrow_mut().push(request);
            ready(HttpResponse::Ok())
        }
    };
    let app = App::new().app_data(keys.clone()).route("/orders/{id}", web::get().to(handler));
    let app = init_service(app).await;
    for key in presented {
        call_service(&app, sent(&key.secret).to_request()).await;
    }
    handed_over.take()
}

/// Returns a request as a typical client sends it, before an application has received the request.
pub(crate) fn sent(key: &str) -> TestRequest {
    TestRequest::get()
        .uri("/orders/17")
        .peer_addr("127.0.0.1:40000".parse().unwrap())
        .insert_header((HOST, "api.example.com"))
        .insert_header((USER_AGENT, "curl/8.14.1"))
        .insert_header((ACCEPT, "*/*"))
        .insert_header((ACCEPT_ENCODING, "gzip, deflate"))
        .insert_header((AUTHORIZATION, format!("Bearer {key}")))
}

/// Calls the function that a handler with `#[require_app_key]` awaits first. Returns the status of
/// a rejection as the error.
pub(crate) async fn authenticate(request: &HttpRequest) -> Result<(), StatusCode> {
    bench::authenticate(&POLICY, request).await
}

/// Runs the minimum of a check: reads one header, digests the key and looks up the digest. The
/// digest and the lookup are the library's own, so a faster digest speeds up the floor as well as
/// the check.
pub(crate) fn floor(keys: &AppKeys, request: &HttpRequest) -> bool {
    presented(request).is_some_and(|key| bench::probe(keys, &bench::digest(keys, key)))
}

/// Returns the key of a request.
pub(crate) fn presented(request: &HttpRequest) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    value.and_then(|value| value.strip_prefix(b"Bearer "))
}

/// Returns the response of the cheapest route that checks a key and sets the same two headers as a
/// guarded route.
pub(crate) fn limit(request: &HttpRequest, body: &'static str) -> HttpResponse {
    let keys = request.app_data().expect("the keys are in the app_data");
    assert!(floor(keys, request));
    let mut response = body.respond_to(request).map_into_boxed_body();
    let headers = response.headers_mut();
    headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    headers.append(VARY, HeaderValue::from_static("authorization, x-api-key"));
    response
}
