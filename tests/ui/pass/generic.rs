//! Handlers with type and constant parameters.

use std::{fmt::Display, marker::PhantomData};

use actix_web::{
    web::{Data, Path},
    FromRequest, Responder,
};
use api_key_runtime::{require_app_key, AppKey};

/// Documented.
#[require_app_key]
pub async fn named<T>(value: Path<T>, key: AppKey) -> impl Responder
where
    T: Display,
    Path<T>: FromRequest,
{
    format!("{} {value}", key.name())
}

/// Documented.
#[require_app_key]
pub async fn count<T: Clone, U, const N: usize>(
    values: Data<[T; N]>,
    _kind: Data<PhantomData<U>>,
) -> Result<String, actix_web::Error> {
    Ok(values.len().to_string())
}
