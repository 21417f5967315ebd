//! The check of the attribute as a middleware, for what no attribute can stand above.

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
use crate::{app_keys::AppKeys, log, policy::Policy};

/// The check of `#[require_app_key]` as a middleware: a whole scope, resource, route or application
/// behind a key.
///
/// Prefer the attribute: it stands where the handler is read, and goes with it wherever it is
/// registered. The middleware is for what has no handler of yours (files, the services of another
/// crate), and for a scope in which no open route shall ever be added by mistake. Where both are
/// used both judge: whoever is refused by one does not get past the other.
///
/// | setter | the key must |
/// | --- | --- |
/// | none | be good |
/// | [`scopes`](Self::scopes) | have all of these scopes |
/// | [`any_scope`](Self::any_scope) | have at least one of these |
/// | [`optional`](Self::optional) | be good if there is one; **who presents none is let through** |
///
/// ```
/// use actix_web::{App, HttpResponse, web};
/// use api_key_runtime::{AppKey, RequireAppKey};
///
/// async fn delete_cake(id: web::Path<i64>, key: AppKey) -> HttpResponse {
///     HttpResponse::Ok().body(format!("cake {id} deleted by {}", key.name()))
/// }
///
/// # struct NoKeys;
/// # impl api_key_runtime::store::KeyStore for NoKeys {
/// #     fn find(&self, _: &[api_key_runtime::store::KeyDigest]) -> Result<Vec<api_key_runtime::admin::KeyRecord>, api_key_runtime::store::StoreError> {
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
/// #     assert_eq!(call_service(&app, TestRequest::delete().uri(path).to_request()).await.status(), 401);
/// # }
/// # }
/// ```
///
/// # What it covers
///
/// Around a scope, a resource or the [`App`](actix_web::App) it judges every request that gets
/// there: any method, paths that do not exist (401 without a key, 404 with one), default services,
/// upgrades. Around a single route it judges once the method fits, as the attribute does. Before
/// the key is good nothing inside is called, and no byte of the body is read.
///
/// It guards what is registered inside of it: no path and no folder. What another scope or service
/// outside serves as well is served there without a key.
///
/// The keys are the [`AppKeys`](crate::AppKeys) in the `app_data` of what it is wrapped around, or
/// of what that stands in. Those of something further inside do not reach it: around an application
/// in which only scopes have keys, every request is answered 500.
///
/// Of several middlewares the one wrapped last is the outermost. Wrap `Cors` and loggers after this
/// one: a preflight carries no key, and refusals, which are responses and not errors, get the
/// headers of the one and a line of the other.
///
/// # Files
///
/// ```
/// use actix_files::Files;
/// use actix_web::{App, web};
/// use api_key_runtime::RequireAppKey;
///
/// # struct NoKeys;
/// # impl api_key_runtime::store::KeyStore for NoKeys {
/// #     fn find(&self, _: &[api_key_runtime::store::KeyDigest]) -> Result<Vec<api_key_runtime::admin::KeyRecord>, api_key_runtime::store::StoreError> {
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
/// # assert_eq!(call_service(&app, TestRequest::get().uri("/reports/").to_request()).await.status(), 401);
/// # }
/// ```
///
/// The folder must not be within one that is served without a key: a `Files` for `/` over its
/// parent folder would serve it as `//reports/`.
///
/// # A scope that no key can have
///
/// The attribute refuses it while it is compiled. Here the server does not start: the log says
/// which scope it is, and [`run`](actix_web::HttpServer::run) ends with an error.
#[doc(alias = "middleware")]
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a middleware guards what it is wrapped around: `.wrap(RequireAppKey::new())`"]
pub struct RequireAppKey {
    policy: Policy,
}

impl RequireAppKey {
    /// Any good key.
    pub const fn new() -> Self {
        Self { policy: Policy::new() }
    }

    /// Requires all of these scopes, separated by spaces: `"cakes:read cakes:write"`.
    pub const fn scopes(mut self, scopes: &'static str) -> Self {
        self.policy = self.policy.scopes(scopes);
        self
    }

    /// Requires at least one of these scopes, separated by spaces.
    pub const fn any_scope(mut self, scopes: &'static str) -> Self {
        self.policy = self.policy.any_scope(scopes);
        self
    }

    /// Lets a request pass that presents no key at all, and handlers take `Option<AppKey>`; one
    /// that is presented must be good.
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

    /// With an error no service is made, and the server does not start.
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

/// What is wrapped, behind the check.
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
            // The request is not cloned: actix's routing panics while a clone of it is held.
            let (keys, in_query) = match authenticate(&policy, request.request()).await {
                Ok(Access { keys, in_query }) => (keys.clone(), in_query),
                Err(rejection) => return Ok(rejected(request, *rejection)),
            };
            match service.call(request).await {
                Ok(mut response) => {
                    Access { keys: &keys, in_query }.finish(response.response_mut());
                    Ok(response.map_into_left_body())
                }
                Err(error) => Err(finished(error, keys, in_query)),
            }
        })
    }
}

/// Returns the rejection as a response and not as an error, so that outer middlewares see it.
fn rejected<B>(request: ServiceRequest, rejection: HttpResponse) -> ServiceResponse<EitherBody<B>> {
    let (request, _unread) = request.into_parts();
    ServiceResponse::new(request, rejection).map_into_right_body()
}

/// Passes on the error of an inner middleware; the response that it becomes gets the headers of a
/// guarded handler's.
fn finished(mut error: Error, keys: AppKeys, in_query: bool) -> Error {
    error.add_response_mapper(move |mut response| {
        Access { keys: &keys, in_query }.finish(&mut response);
        response
    });
    error
}
