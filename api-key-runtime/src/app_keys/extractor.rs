//! Finds the key set of a request, for the check and for handlers.

use std::{
    fmt,
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError, dev::Payload, http::StatusCode, web,
};

use super::AppKeys;
use crate::{log, log_throttle::LogThrottle, rejection::misconfigured, request::route_of};

/// The routes for which a missing key set, or two different key sets, were logged.
static LOGGED: LogThrottle<String> = LogThrottle::new();

/// Returns the key set of a request, from the innermost scope that has one. Logs an error and
/// returns `None` if there is none, or if two different key sets apply.
#[inline]
pub(crate) fn of(request: &HttpRequest) -> Option<&AppKeys> {
    match find(request) {
        Ok(keys) => Some(keys),
        Err(fault) => {
            fault.of_route(request).log();
            None
        }
    }
}

#[inline]
fn find(request: &HttpRequest) -> Result<&AppKeys, Fault> {
    let plain = request.app_data::<AppKeys>();
    let data = request.app_data::<web::Data<AppKeys>>().map(web::Data::get_ref);
    match (plain, data) {
        (Some(plain), Some(data)) if !Arc::ptr_eq(&plain.inner, &data.inner) => Err(Fault::Two),
        (plain, data) => plain.or(data).ok_or(Fault::Missing),
    }
}

/// Extracts the `AppKeys` of the request's scope, for example to show health or metrics in a route.
/// The `app_data` of the scope holds the plain value or `web::Data<AppKeys>`. If `app_data` holds
/// neither, or two different key sets, the response is 500 and an error is logged.
impl FromRequest for AppKeys {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let keys = find(request).cloned();
        ready(keys.map_err(|fault| fault.of_route(request).into()))
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Missing,
    Two,
}

impl Fault {
    fn of_route(self, request: &HttpRequest) -> Unclear {
        Unclear { route: route_of(request), fault: self }
    }
}

/// The error for a route without a key set, or with two different key sets.
#[derive(Debug)]
struct Unclear {
    route: String,
    fault: Fault,
}

impl Unclear {
    fn log(&self) {
        let fault = match self.fault {
            Fault::Two => {
                "both AppKeys and web::Data<AppKeys> in app_data, and they differ: answered 500; use one of them throughout"
            }
            Fault::Missing => {
                "a check for API keys or takes AppKeys, but no AppKeys in the application or scope: answered 500; \
                 add .app_data(keys.clone()) to the App or to the scope of the route"
            }
        };
        if LOGGED.should_log(self.route.clone()) {
            log::error!("{} has {fault}", self.route);
        }
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AppKeys are missing or ambiguous for this route")
    }
}

impl ResponseError for Unclear {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        misconfigured()
    }
}
