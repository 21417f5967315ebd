//! Which keys a request means, for the check and for handlers.

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

/// Routes of which it was said that it is unclear which keys are meant.
static LOGGED: LogThrottle<String> = LogThrottle::new();

/// The keys that apply to a request: those of its innermost scope. `None`, which is logged, where
/// that is unclear.
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

/// The keys of the request's scope, put there as the plain value or as `web::Data<AppKeys>`: for a
/// route that shows their health or metrics. Without keys the response is 500, and the log says
/// what is missing.
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

/// A route that needs keys, and it is unclear which.
#[derive(Debug)]
struct Unclear {
    route: String,
    fault: Fault,
}

impl Unclear {
    fn log(&self) {
        let fault = match self.fault {
            Fault::Two => {
                "both AppKeys and web::Data<AppKeys>, and which of them is meant is unclear: use one of them throughout"
            }
            Fault::Missing => {
                "a check for API keys, or a handler that takes AppKeys, but no AppKeys in the application, or none that reaches it: add \
                 .app_data(keys.clone()) to the App, or to the scope or resource that the route stands in"
            }
        };
        if LOGGED.should_log(self.route.clone()) {
            log::error!("{} has {fault}; it was answered 500, and no handler was run", self.route);
        }
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no keys are set up for this route")
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
