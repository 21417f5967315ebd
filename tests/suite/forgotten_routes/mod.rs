//! `assert_protected` catches forgotten routes of every kind, accepts guarded routes, and lists
//! routes that it cannot check.

mod kinds;
mod named;
mod seen;

use std::{
    env, fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use actix_cors::Cors;
use actix_files::Files;
use actix_web::{
    App, HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse, fn_service},
    get, guard,
    http::Method,
    middleware::{DefaultHeaders, ErrorHandlerResponse, ErrorHandlers, Logger, NormalizePath},
    post, routes, web,
};
use api_key_runtime::{
    AppKey, RequireAppKey, require_app_key,
    route_audit::{Exceptions, ProtectionReport, assert_protected, protection_report},
    test_util::TestKeys,
};

#[require_app_key]
async fn guarded() -> &'static str {
    "for callers with a key"
}

async fn forgotten() -> &'static str {
    "for anyone"
}

#[require_app_key(optional)]
async fn optional(key: Option<AppKey>) -> String {
    format!("{}", key.is_some())
}

#[get("/service/{id}")]
#[require_app_key]
async fn guarded_service(id: web::Path<u64>) -> String {
    id.to_string()
}

#[get("/service")]
async fn forgotten_service() -> &'static str {
    "for anyone"
}

#[post("/report")]
#[require_app_key]
async fn guarded_report() -> &'static str {
    "for callers with a key"
}

#[routes]
#[get("/several")]
#[post("/several/again")]
async fn forgotten_routes() -> &'static str {
    "for anyone"
}

trait Served:
    ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<Self::Body>,
        Error = actix_web::Error,
        InitError = (),
    > + 'static
{
    type Body: actix_web::body::MessageBody + 'static;
}

impl<T, B> Served for T
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    B: actix_web::body::MessageBody + 'static,
{
    type Body = B;
}

async fn report<T: Served>(app: App<T>, exceptions: Exceptions) -> ProtectionReport {
    let app = app.app_data(TestKeys::new().app_keys);
    protection_report(app, exceptions).await
}

/// Returns the first line of each violation.
async fn faults<T: Served>(app: App<T>, exceptions: Exceptions) -> Vec<String> {
    let report = report(app, exceptions).await;
    let first = |fault: &String| fault.lines().next().unwrap().to_owned();
    report.violations().iter().map(first).collect()
}

const OPEN: &str = "answered 200 OK to a caller without a key";

/// Checks that exactly these routes are open, in an application that also has guarded routes.
async fn assert_open<T: Served>(app: App<T>, routes: &[&str]) {
    let app = app.service(guarded_service).service(guarded_report);
    let expected: Vec<String> = routes.iter().map(|route| format!("{route} {OPEN}")).collect();
    assert_eq!(faults(app, Exceptions::public([])).await, expected);
}
