//! The middleware: around applications, scopes, resources and files, beside the attribute, and
//! among other middlewares.

mod app_key_ext;
mod files;
mod layers;
mod nested;
mod places;
mod unrouted;

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload};
use api_key_runtime::{RequireAppKey, admin::NewKey};

use crate::support::Database;

const ANY_KEY: RequireAppKey = RequireAppKey::new();

/// A counter of how often code behind the guard ran.
#[derive(Clone, Debug, Default)]
struct Touched(Arc<AtomicUsize>);

impl Touched {
    fn touch(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// An extractor that counts how often it is created.
struct Probe;

impl FromRequest for Probe {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        if let Some(touched) = request.app_data::<Touched>() {
            touched.touch();
        }
        ready(Ok(Self))
    }
}

async fn cake(_: Probe) -> HttpResponse {
    HttpResponse::Ok().body("cake")
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}")
}

/// Returns a key with these scopes, valid from any address.
fn key_with(database: &Database, scopes: &str) -> String {
    let new = NewKey::new("scoped").allow_any().scopes(scopes).unwrap();
    database.issue_with(&new).0
}
