//! The verified key, for middlewares.

use actix_web::{
    HttpMessage as _, HttpRequest,
    dev::{ServiceRequest, ServiceResponse},
};

use crate::app_key::AppKey;

/// Access to the verified key of a request, for middlewares.
///
/// A middleware that is wrapped *inside* [`RequireAppKey`](crate::RequireAppKey) finds the key in
/// the request. A middleware that is wrapped outside the check, or around a handler with
/// `#[require_app_key]`, finds the key in the response, after the inner service has returned.
///
/// ```
/// use actix_web::{
///     App, Error, HttpResponse,
///     body::MessageBody,
///     dev::{ServiceRequest, ServiceResponse},
///     http::header::HeaderName,
///     middleware::{Next, from_fn},
///     web,
/// };
/// use api_key_runtime::{AppKeyExt as _, require_app_key};
///
/// /// Adds the id of the key to the response headers.
/// async fn name_key(
///     request: ServiceRequest,
///     next: Next<impl MessageBody>,
/// ) -> Result<ServiceResponse<impl MessageBody>, Error> {
///     let mut response = next.call(request).await?;
///     if let Some(key) = response.app_key() {
///         response.headers_mut().insert(HeaderName::from_static("x-key-id"), key.id().into());
///     }
///     Ok(response)
/// }
///
/// #[require_app_key]
/// async fn cakes() -> HttpResponse {
///     HttpResponse::Ok().finish()
/// }
///
/// # #[actix_web::main]
/// # async fn main() {
/// # use actix_web::{test::{TestRequest, call_service, init_service}};
/// # use api_key_runtime::{admin::{AllowedIps, KeyRecord, NewKey}, store::{KeyDigest, KeyStore}};
/// # struct OneKey;
/// # impl KeyStore for OneKey {
/// #     fn find(
/// #         &self, digests: &[KeyDigest],
/// #     ) -> Result<Vec<KeyRecord>, api_key_runtime::store::StoreError> {
/// #         Ok(vec![KeyRecord::new(17, digests[0], AllowedIps::any())])
/// #     }
/// # }
/// # let keys = api_key_runtime::AppKeys::builder().store(OneKey).build().unwrap();
/// # let key = keys.make_key(&NewKey::new("test").allow_any()).unwrap();
/// let app = App::new()
///     .app_data(keys.clone())
///     .service(web::resource("/cakes").wrap(from_fn(name_key)).get(cakes));
/// # let app = init_service(app).await;
/// # let request = || TestRequest::get().uri("/cakes");
/// # let with_key = request().insert_header(("x-api-key", key.secret.expose_secret()));
/// # let response = call_service(&app, with_key.to_request()).await;
/// # assert_eq!(response.headers().get("x-key-id").unwrap(), "17");
/// # let response = call_service(&app, request().to_request()).await;
/// # assert!(response.headers().get("x-key-id").is_none());
/// # }
/// ```
#[doc(alias = "extensions")]
#[doc(alias = "middleware")]
pub trait AppKeyExt: sealed::Sealed {
    /// Returns the key that the last check accepted.
    ///
    /// Returns `None` if no key was checked yet, if the only check rejected the request, or if
    /// `optional` accepted a request without a key.
    ///
    /// With nested checks, an inner check may reject a request whose key an outer check has
    /// accepted. So check the status of the response as well.
    fn app_key(&self) -> Option<AppKey>;
}

impl AppKeyExt for HttpRequest {
    fn app_key(&self) -> Option<AppKey> {
        self.extensions().get().cloned()
    }
}

impl AppKeyExt for ServiceRequest {
    fn app_key(&self) -> Option<AppKey> {
        self.request().app_key()
    }
}

impl<B> AppKeyExt for ServiceResponse<B> {
    fn app_key(&self) -> Option<AppKey> {
        self.request().app_key()
    }
}

mod sealed {
    use super::{HttpRequest, ServiceRequest, ServiceResponse};

    pub trait Sealed {}

    impl Sealed for HttpRequest {}
    impl Sealed for ServiceRequest {}
    impl<B> Sealed for ServiceResponse<B> {}
}
