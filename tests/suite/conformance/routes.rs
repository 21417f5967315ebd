//! The extractors and responses of both services, the public handler, and the handlers that the
//! middleware guards. Guarded handlers and their extractors count their runs.

use std::{
    future::{Ready, ready},
    net::IpAddr,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, dev::Payload, error::ErrorInternalServerError,
    http::StatusCode, web,
};

use super::target::Guard;

/// An extractor that counts how often it is created.
pub(super) struct Run(Guard);

impl FromRequest for Run {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let run = request
            .app_data::<Guard>()
            .cloned()
            .ok_or_else(|| ErrorInternalServerError("the application has no counters"))
            .map(|guard| {
                guard.extracted();
                Self(guard)
            });
        ready(run)
    }
}

impl Run {
    /// Counts the run of a handler and returns its response.
    pub(super) fn answer(&self, body: String) -> HttpResponse {
        self.0.ran();
        HttpResponse::Ok().body(body)
    }

    pub(super) fn cake(&self) -> HttpResponse {
        self.answer("cake".to_owned())
    }

    /// Returns the client IP that was checked.
    pub(super) fn caller(&self, address: Option<IpAddr>) -> HttpResponse {
        self.answer(address.map_or_else(|| "unknown".to_owned(), |address| address.to_string()))
    }

    /// Returns the first response of a WebSocket handler.
    pub(super) fn upgrade(&self) -> HttpResponse {
        self.0.ran();
        HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS).upgrade("websocket").finish()
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Cake {
    #[allow(dead_code, reason = "only whether it parses matters")]
    name: String,
}

#[derive(serde::Deserialize)]
pub(super) struct Search {
    #[allow(dead_code, reason = "only whether it parses matters")]
    limit: u32,
}

/// A handler without a guard and without counters.
pub(super) async fn public() -> HttpResponse {
    HttpResponse::Ok().body("public")
}

pub(super) async fn cake(run: Run) -> HttpResponse {
    run.cake()
}

pub(super) async fn json(run: Run, _: web::Json<Cake>) -> HttpResponse {
    run.cake()
}

pub(super) async fn text(run: Run, _: String) -> HttpResponse {
    run.cake()
}

pub(super) async fn search(run: Run, _: web::Query<Search>) -> HttpResponse {
    run.cake()
}

pub(super) async fn number(run: Run, _: web::Path<u32>) -> HttpResponse {
    run.cake()
}

pub(super) async fn socket(run: Run) -> HttpResponse {
    run.upgrade()
}
