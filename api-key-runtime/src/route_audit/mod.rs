//! A test helper that finds unprotected routes of an application.
//!
//! [`assert_protected`] calls every route without a key and fails for each route that does not
//! reject the request. A single test with this call also detects every unprotected route that is
//! added later.
//!
//! This module has its own feature, `route-audit`, because it reads actix-web's list of routes
//! (`experimental-introspection`), which a patch release of actix-web may change.
//! [`test_util`](crate::test_util) does not depend on that list. Enable the feature only for tests:
//! actix-web keeps the list for every application in the build.
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

/// Fails for each route that neither rejects a caller without a key nor is listed as
/// [`public`](Exceptions::public) with a reason.
///
/// Pass the application that the service serves: `App::new().app_data(keys).configure(routes)`.
/// Every route is called without a key and without a body, with its own methods and with all
/// methods that actix-web has a guard for. Only a rejection by this crate passes. A 400, 401, 404
/// or redirect from the route itself fails. Unprotected handlers are run.
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
/// let public = Exceptions::public([("GET /health", "the load balancer calls it")]);
/// assert_protected(app, public).await;
/// # }
/// ```
///
/// The audit covers everything that is registered with actix-web:
///
/// - services, scopes, resources and `route()`
/// - redirects, files and other services with a prefix
/// - the default services of the application, of scopes (`GET /api/<unmatched>`) and of resources
///
/// The audit tries every combination of satisfied and unsatisfied guards for headers, hosts,
/// methods and `Acceptable`. This includes guards inside `Not`.
///
/// A route that the audit cannot see also fails, unless [`Exceptions::unseen`] gives a reason:
///
/// - a route behind a guard that is a function of the application
/// - a route whose requests another route answers
/// - a route with parameters that no path can be generated for (see [`Exceptions::sample`])
/// - a service with a prefix, such as `Files`, that rejects only some of its paths
///
/// The audit cannot list two things:
///
/// - responses that a middleware generates for paths without a route
/// - a default service that answers with an empty 404, like the default service of actix-web
///
/// # Panics
/// Panics with a list of the routes that fail, and advice on how to fix each route.
/// [`protection_report`] returns a report instead.
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

/// Returns the result of [`assert_protected`] as a report, without panicking.
///
/// ```
/// # use actix_web::{App, web};
/// # use api_key_runtime::{route_audit::{Exceptions, protection_report}, test_util::TestKeys};
/// # #[actix_web::main] async fn main() {
/// let app = App::new()
///     .app_data(TestKeys::new().app_keys)
///     .route("/cakes", web::get().to(async || "cakes"));
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
