//! The middleware counterpart of the attribute, for services without an annotated handler.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    rc::Rc,
};

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};

use super::{Access, authenticate};
use crate::{log, policy::Policy};

/// The middleware counterpart of `#[require_app_key]`: protects a whole scope, resource, route or
/// application.
///
/// Prefer the attribute: it is next to the handler's code, and protects the handler wherever the
/// handler is registered. Use the middleware for services without a handler of your own, such as
/// files and the services of other crates. Also use the middleware for a scope in which every route
/// must be protected. A request to an annotated handler inside the middleware must pass both
/// checks.
///
/// | setter | effect |
/// | --- | --- |
/// | none | requires a valid key |
/// | [`scopes`](Self::scopes) | requires a key with all of these scopes |
/// | [`any_scope`](Self::any_scope) | requires a key with at least one of these scopes |
/// | [`optional`](Self::optional) | **also accepts requests without a key**; a key that is sent must be valid |
///
/// ```
/// use actix_web::{App, HttpResponse, web};
/// use api_key_runtime::{AppKey, RequireAppKey};
///
/// async fn delete_cake(id: web::Path<i64>, key: AppKey) -> HttpResponse {
///     HttpResponse::Ok().body(format!("cake {id} deleted by {}", key.name()))
/// }
///
/// # use api_key_runtime::{admin::KeyRecord, store::{KeyDigest, KeyStore, StoreError}};
/// # struct NoKeys;
/// # impl KeyStore for NoKeys {
/// #     fn find(&self, _: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
/// #         Ok(Vec::new())
/// #     }
/// # }
/// # #[actix_web::main]
/// # async fn main() {
/// # let keys = api_key_runtime::AppKeys::builder().store(NoKeys).build().unwrap();
/// let app = App::new().app_data(keys.clone()).service(
///     web::scope("/admin")
///         .wrap(RequireAppKey::new().scopes("cakes:delete"))
///         .route("/cakes/{id}", web::delete().to(delete_cake)),
/// );
/// # use actix_web::test::{TestRequest, call_service, init_service};
/// # let app = init_service(app).await;
/// # for path in ["/admin/cakes/1", "/admin/no-such-page"] {
/// #     let request = TestRequest::delete().uri(path).to_request();
/// #     assert_eq!(call_service(&app, request).await.status(), 401);
/// # }
/// # }
/// ```
///
/// # Covered requests
///
/// Around a scope, a resource or the [`App`](actix_web::App), the middleware checks every request
/// that arrives there, with any method. This includes requests to default services, upgrade
/// requests, and requests for paths that do not exist (401 without a key, 404 with a key). Around a
/// single route, the middleware checks only requests whose method matches the route, like the
/// attribute. Until the key is accepted, no inner service is called and no byte of the body is
/// read.
///
/// The middleware protects the services that are registered inside it, not a path or a folder. A
/// service that is registered outside it may serve the same file without a key.
///
/// The middleware uses the [`AppKeys`](crate::AppKeys) in the `app_data` of the wrapped scope,
/// resource or application, or of an enclosing scope or application. `AppKeys` in the `app_data` of
/// an inner scope are not used. If only inner scopes have `AppKeys`, every request is answered with
/// 500.
///
/// The last `wrap` is the outermost middleware. Wrap `Cors` and loggers after this middleware. A
/// preflight request carries no key, so `Cors` must answer it before the check. Rejections are
/// responses and not errors, so `Cors` adds its headers to a rejection, and loggers log the
/// rejection.
///
/// # Files
///
/// ```
/// use actix_files::Files;
/// use actix_web::{App, web};
/// use api_key_runtime::RequireAppKey;
///
/// # use api_key_runtime::{admin::KeyRecord, store::{KeyDigest, KeyStore, StoreError}};
/// # struct NoKeys;
/// # impl KeyStore for NoKeys {
/// #     fn find(&self, _: &[KeyDigest]) -> Result<Vec<KeyRecord>, StoreError> {
/// #         Ok(Vec::new())
/// #     }
/// # }
/// # #[actix_web::main]
/// # async fn main() {
/// # let keys = api_key_runtime::AppKeys::builder().store(NoKeys).build().unwrap();
/// let app = App::new().app_data(keys.clone()).service(
///     web::scope("/reports")
///         .wrap(RequireAppKey::new())
///         .service(Files::new("/", "reports").index_file("index.html")),
/// );
/// # use actix_web::test::{TestRequest, call_service, init_service};
/// # let app = init_service(app).await;
/// # let request = TestRequest::get().uri("/reports/").to_request();
/// # assert_eq!(call_service(&app, request).await.status(), 401);
/// # }
/// ```
///
/// The folder must not be inside a folder that is served without a key. A `Files` service at `/`
/// for the parent folder would also serve the reports, at `//reports/`.
///
/// # Invalid scopes
///
/// A scope that no key can have is a compile error in the attribute. With the middleware, the
/// server does not start: the log names the scope, and [`run`](actix_web::HttpServer::run) returns
/// an error.
#[doc(alias = "auth")]
#[doc(alias = "bearer")]
#[doc(alias = "middleware")]
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a middleware protects only the service it wraps: `.wrap(RequireAppKey::new())`"]
pub struct RequireAppKey {
    policy: Policy,
}

impl RequireAppKey {
    /// Returns the middleware that requires any valid key.
    pub const fn new() -> Self {
        Self { policy: Policy::new() }
    }

    /// Requires a key with all of these scopes, separated by spaces: `"cakes:read cakes:write"`.
    pub const fn scopes(mut self, scopes: &'static str) -> Self {
        self.policy = self.policy.scopes(scopes);
        self
    }

    /// Requires a key with at least one of these scopes, separated by spaces.
    ///
    /// ```
    /// use api_key_runtime::RequireAppKey;
    ///
    /// const READERS: RequireAppKey = RequireAppKey::new().any_scope("cakes:read cakes:write");
    /// ```
    pub const fn any_scope(mut self, scopes: &'static str) -> Self {
        self.policy = self.policy.any_scope(scopes);
        self
    }

    /// Makes the key optional: requests without a key are accepted as well, and handlers take
    /// `Option<AppKey>`. A key that is sent must be valid.
    pub const fn optional(mut self) -> Self {
        self.policy = self.policy.optional();
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for RequireAppKey
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Guarded<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    /// Returns an error for invalid scopes, so that the server does not start.
    fn new_transform(&self, service: S) -> Self::Future {
        let guarded = match self.policy.check() {
            Ok(()) => Ok(Guarded { service: Rc::new(service), policy: self.policy }),
            Err(error) => {
                log::error!("RequireAppKey: {error}; the server does not start");
                Err(())
            }
        };
        ready(guarded)
    }
}

/// The wrapped service and the policy that protects it.
#[derive(Debug)]
pub struct Guarded<S> {
    service: Rc<S>,
    policy: Policy,
}

impl<S, B> Service<ServiceRequest> for Guarded<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let service = Rc::clone(&self.service);
        let policy = self.policy;
        Box::pin(async move {
            // The request must not be cloned, because actix's routing panics while a clone of the
            // request exists.
            let access = match authenticate(&policy, request.request()).await {
                Ok(access) => access,
                Err(rejection) => return Ok(rejected(request, *rejection)),
            };
            match service.call(request).await {
                Ok(mut response) => {
                    access.finish(response.response_mut());
                    Ok(response.map_into_left_body())
                }
                Err(error) => Err(finished(error, access)),
            }
        })
    }
}

/// Returns the rejection as a response and not as an error, so that outer middlewares see the
/// response.
fn rejected<B>(request: ServiceRequest, rejection: HttpResponse) -> ServiceResponse<EitherBody<B>> {
    let (request, _unread) = request.into_parts();
    ServiceResponse::new(request, rejection).map_into_right_body()
}

/// Returns the error of the wrapped service. The response to this error will have the headers that
/// every response of a guarded handler carries.
fn finished(mut error: Error, access: Access) -> Error {
    error.add_response_mapper(move |mut response| {
        access.finish(&mut response);
        response
    });
    error
}
