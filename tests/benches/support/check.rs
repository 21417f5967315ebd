//! The check alone, in process: a request as a server would hand it to a guarded handler, and the function that the attribute awaits.

use std::collections::HashMap;

use actix_web::{
    FromRequest as _, HttpRequest, HttpResponse, dev,
    http::{
        StatusCode,
        header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, USER_AGENT},
    },
    test::TestRequest,
    web::Payload,
};
use api_key_runtime::{__private::authenticated, AppKeys, Digest, Policy};

use super::Key;

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
    async fn handler() -> HttpResponse {
        HttpResponse::Ok().finish()
    }
    let payload = Payload::from_request(request, &mut dev::Payload::None);
    let payload = payload.await.unwrap();
    let response = authenticated(&POLICY, request.clone(), payload, handler).await;
    match response.status() {
        StatusCode::OK => Ok(()),
        refused => Err(refused),
    }
}

/// The map that known keys are kept in, with nothing around it.
pub(crate) struct CacheProbe(HashMap<Digest, i64>);

impl CacheProbe {
    pub(crate) fn of(keys: &[Key]) -> Self {
        Self(keys.iter().map(|key| (key.digest, 1)).collect())
    }

    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }
}
