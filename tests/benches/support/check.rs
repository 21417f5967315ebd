//! The check alone, in process: a request as a server would hand it to a guarded handler, and the function that the attribute awaits.

use actix_web::{
    HttpRequest,
    http::{
        StatusCode,
        header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, USER_AGENT},
    },
    test::TestRequest,
};
use api_key_runtime::{AppKeys, Policy, test_util::bench};

/// What `#[require_app_key]` without arguments asks.
static POLICY: Policy = Policy::new();

/// A request as a common client sends it, with this key as `Authorization: Bearer`.
pub(crate) fn request(keys: &AppKeys, key: &str) -> HttpRequest {
    TestRequest::get()
        .uri("/orders/17")
        .peer_addr("127.0.0.1:40000".parse().unwrap())
        .insert_header((HOST, "api.example.com"))
        .insert_header((USER_AGENT, "curl/8.14.1"))
        .insert_header((ACCEPT, "*/*"))
        .insert_header((ACCEPT_ENCODING, "gzip, deflate"))
        .insert_header((AUTHORIZATION, format!("Bearer {key}")))
        .app_data(keys.clone())
        .to_http_request()
}

/// The very function that the attribute awaits; the status of a refusal.
pub(crate) async fn authenticate(request: &HttpRequest) -> Result<(), StatusCode> {
    bench::authenticate(&POLICY, request).await
}
