//! Handlers with every kind of argument.

use actix_web::{
    get, post, put,
    web::{Bytes, Data, Path, Payload, Query},
    HttpRequest, Responder,
};
use api_key_runtime::{require_app_key, AppKey};

#[get("/nothing")]
#[require_app_key]
pub(crate) async fn nothing() -> impl Responder {
    "nothing"
}

#[get("/known")]
#[require_app_key(scopes = "orders:read orders:write", any_scope = "a b")]
pub(crate) async fn known(key: AppKey) -> impl Responder {
    key.name().to_owned()
}

#[get("/optional")]
#[require_app_key(optional)]
pub(crate) async fn optional(key: Option<AppKey>) -> impl Responder {
    key.map(|key| key.name().to_owned())
}

#[post("/patterns/{id}/{name}")]
#[require_app_key]
pub(crate) async fn patterns(
    path: Path<(u64, String)>,
    Query([first, ..]): Query<[u8; 2]>,
    (mut body, request): (Bytes, HttpRequest),
    _unused: Data<String>,
) -> impl Responder {
    let (id, name) = path.into_inner();
    body.truncate(usize::from(first));
    format!("{id} {name} {} {}", body.len(), request.path())
}

#[put("/upload")]
#[require_app_key]
pub(crate) async fn upload(_request: HttpRequest, _payload: Payload) -> impl Responder {
    "uploaded"
}

#[get("/sixteen")]
#[require_app_key]
#[expect(clippy::too_many_arguments, reason = "as many as there can be")]
pub(crate) async fn sixteen(
    _first: Bytes,
    _second: Bytes,
    _third: Bytes,
    _fourth: Bytes,
    _fifth: Bytes,
    _sixth: Bytes,
    _seventh: Bytes,
    _eighth: Bytes,
    _ninth: Bytes,
    _tenth: Bytes,
    _eleventh: Bytes,
    _twelfth: Bytes,
    _thirteenth: Bytes,
    _fourteenth: Bytes,
    _fifteenth: Bytes,
    _last: Bytes,
) -> impl Responder {
    "sixteen"
}
