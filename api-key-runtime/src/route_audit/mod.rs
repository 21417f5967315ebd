//! The test that no route of an application was forgotten.
//!
//! [`assert_protected`] calls every route without a key and fails for each that does not refuse it.
//! One test that calls the function keeps routes from being added without the attribute.
//!
//! The module has a feature of its own, `route-audit`, because it reads actix-web's list of routes
//! (`experimental-introspection`), which a patch release of actix-web may change.
//! [`test_util`](crate::test_util) does not depend on that list. Enable the feature for tests only:
//! actix-web keeps the list for every application that is built with it.
//!
//! ```toml
//! [dev-dependencies]
//! api-key-runtime = { path = "../require_app_key/api-key-runtime", features = ["route-audit"] }
//! ```

mod audit;
mod exceptions;
mod paths;
mod probe;
mod report;
mod routes;

use std::{future::Future, panic::Location};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
};

pub use exceptions::Exceptions;
pub use report::ProtectionReport;

/// Fails for each route of the application that neither refuses a caller without a key nor is named
/// as [`public`](Exceptions::public) with a reason.
///
/// Hand it the application that the service serves: `App::new().app_data(keys).configure(routes)`.
/// Every route is called without a key and without a body, with its own method and all others, and
/// what was answered must be a refusal of this crate: a 401 of the handler's own, a 400, a 404 or a
/// redirect is none. Handlers that are not guarded do run.
///
/// ```
/// use actix_web::{App, get, web};
/// use api_key_runtime::{
///     require_app_key,
///     route_audit::{Exceptions, assert_protected},
///     test_util::TestKeys,
/// };
///
/// #[get("/health")]
/// async fn health() -> &'static str { "ok" }
///
/// #[get("/cakes/{id}")]
/// #[require_app_key]
/// async fn cake(id: web::Path<i64>) -> String { format!("cake {id}") }
///
/// fn routes(config: &mut web::ServiceConfig) {
///     config.service(health).service(cake);
/// }
///
/// # #[actix_web::main] async fn main() {
/// let app = App::new().app_data(TestKeys::new().app_keys).configure(routes);
/// assert_protected(app, Exceptions::public([("GET /health", "the load balancer asks it")])).await;
/// # }
/// ```
///
/// What it looks at is everything that is registered with actix-web: services, scopes, resources,
/// `route()`, redirects, files and other services with a prefix, and the default services of the
/// application, of scopes (`GET /api/<unmatched>`) and of resources. Header, host, method and
/// `Acceptable` guards, also those within `Not`, are satisfied and left unsatisfied in every
/// combination.
///
/// What it cannot see fails as well, unless [`Exceptions::unseen`] says why it may: a route behind
/// a guard that is a function of your own, one that another takes the requests of, one whose
/// parameters no path is known for (see [`Exceptions::sample`]), a service with a prefix that
/// refuses some paths by itself. Two things cannot even be listed: what a middleware answers by
/// itself at paths that are no routes, and a default service that answers as actix-web's own does,
/// 404 without a body.
///
/// # Panics
/// With the list of these routes, and what to do about each. [`protection_report`] returns it
/// instead.
#[track_caller]
pub fn assert_protected<T, B>(
    app: App<T>,
    exceptions: Exceptions,
) -> impl Future<Output = ProtectionReport>
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let place = Location::caller();
    async move {
        let report = protection_report(app, exceptions).await;
        assert!(report.is_protected(), "{report}\n\nchecked at {place}");
        report
    }
}

/// What [`assert_protected`] asserts, as a report.
///
/// ```
/// # use actix_web::{App, web};
/// # use api_key_runtime::{route_audit::{Exceptions, protection_report}, test_util::TestKeys};
/// # #[actix_web::main] async fn main() {
/// let app = App::new().app_data(TestKeys::new().app_keys).route("/cakes", web::get().to(async || "cakes"));
/// let report = protection_report(app, Exceptions::public([])).await;
/// assert!(!report.is_protected());
/// assert!(report.violations()[0].starts_with("GET /cakes answered 200 OK"));
/// # }
/// ```
pub async fn protection_report<T, B>(app: App<T>, exceptions: Exceptions) -> ProtectionReport
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let prober = probe::Prober::new(app).await;
    audit::audit(&prober, exceptions).await
}
