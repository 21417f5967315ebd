//! Handlers with every kind of return type.

use std::{
    future::{ready, Future, Ready},
    pin::Pin,
};

use actix_web::{error::ErrorNotFound, get, web::Path, Either, HttpResponse, Responder};
use api_key_runtime::require_app_key;

#[get("/result/{id}")]
#[require_app_key]
pub(crate) async fn result(id: Path<u64>) -> Result<impl Responder, actix_web::Error> {
    let id = id.into_inner();
    if id == 0 {
        return Err(ErrorNotFound("no such order"));
    }
    let digits = u8::try_from(id).map_err(ErrorNotFound)?;
    Ok(digits.to_string())
}

#[get("/either")]
#[require_app_key]
pub(crate) async fn either() -> Either<&'static str, HttpResponse> {
    Either::Right(HttpResponse::NoContent().finish())
}

#[get("/ready")]
#[require_app_key]
pub(crate) fn ready_at_once() -> Ready<&'static str> {
    ready("ready")
}

#[get("/future")]
#[require_app_key]
pub(crate) fn future(id: Path<u64>) -> impl Future<Output = impl Responder> {
    let order = id.into_inner().to_string();
    async move { order }
}

#[get("/boxed")]
#[require_app_key]
pub(crate) fn boxed() -> Pin<Box<dyn Future<Output = String>>> {
    Box::pin(async { "boxed".to_owned() })
}
