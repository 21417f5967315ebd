//! API keys in front of actix-web handlers: `#[require_app_key]` above a handler means that it runs only for a caller who presents a
//! key that is in the key table, from an address that key may be used from.
//!
//! ```
//! use actix_web::{HttpResponse, Responder, delete, web::Path};
//! use api_key_runtime::{AppKey, require_app_key};
//!
//! #[delete("/cakes/{id}")]
//! #[require_app_key(scopes = "cakes:delete")]
//! async fn delete_cake(id: Path<i64>, key: AppKey) -> impl Responder {
//!     HttpResponse::Ok().body(format!("cake {id} deleted by {}", key.name()))
//! }
//! ```
//!
//! - It comes first: no extractor of the handler is made, and no byte of the body is read, before the caller is known.
//! - Keys are kept as digests, in tables that Diesel migrations manage, on Postgres or SQLite, or in a [`KeyStore`](store::KeyStore) of your own.
//! - A key that was used before is judged without a query, and a revoked one is refused everywhere within milliseconds.
//! - The command `app-key` issues, lists and revokes keys; [`Admin`](admin::Admin) is the same as an API.
//!
//! # Five minutes
//!
//! ```toml
//! [dependencies]
//! actix-web = { version = "4.18", default-features = false, features = ["macros"] }
//! api-key-runtime = { path = "../require_app_key/api-key-runtime", features = ["sqlite-bundled"] }
//! ```
//!
#![cfg_attr(feature = "_diesel", doc = "```no_run")]
#![cfg_attr(not(feature = "_diesel"), doc = "```ignore")]
//! use actix_web::{App, HttpServer, get};
//! use api_key_runtime::{AppKey, AppKeys, require_app_key};
//!
//! #[get("/me")]
//! #[require_app_key]
//! async fn me(key: AppKey) -> String {
//!     format!("Hello, {}.\n", key.name())
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let keys = AppKeys::builder().env()?.migrate()?.build()?;
//!     HttpServer::new(move || App::new().app_data(keys.clone()).service(me)).bind("127.0.0.1:8080")?.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! export DATABASE_URL=shop.db
//! cargo run
//! ```
//!
//! and in another terminal, with the same `DATABASE_URL`:
//!
//! ```sh
//! KEY=$(app-key issue --name me --ip 127.0.0.1)
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/me
//! ```
//!
//! The chapter [`start`](guide::start) goes slowly, and says how to install the command.
// The table of chapters. Its links, as those of the chapters, have other targets on a forge.
#![cfg_attr(
    any(doc, doctest),
    doc = "",
    doc = include_str!("../guide/rustdoc_links.md"),
    doc = include_str!("../guide/README.md"),
    doc = ""
)]
//! # Modules
//!
//! The root has what a service names: the attribute, the middleware, [`AppKeys`] and its builder, and [`AppKey`] of the caller. The rest:
//!
//! | module | for |
//! | --- | --- |
//! | [`admin`] | issuing, listing and changing keys; a key's record, allow list, secret and state |
//! | [`store`] | keeping keys elsewhere, or joining the key tables in queries of your own |
//! | [`migrations`] | the tables |
//! | [`health`], [`metrics`] | readiness and figures |
//! | [`test_util`], [`route_audit`] | tests |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | for |
//! | --- | --- |
//! | `postgres`, `sqlite` | the system's libpq (with TLS) and libsqlite3 |
//! | `postgres-bundled`, `sqlite-bundled` | the same, built from source with a C compiler; this libpq has no TLS: development and tests |
//! | `serde` | `Serialize` for what is listed and measured: [`KeyRecord`](admin::KeyRecord), [`KeyUsage`](admin::KeyUsage), [`Health`](health::Health), [`Metrics`](metrics::Metrics) and their parts |
//! | `test-util` | tests of your handlers and stores: [`test_util`] |
//! | `route-audit` | the test that finds routes without the attribute: [`route_audit`]; includes `test-util` |
//!
//! # Public dependencies
//!
//! `actix-web` 4, `chrono` 0.4 and, with a database, `diesel` 2.3 are part of this API. [`chrono`] and [`diesel`] are re-exported, so that a
//! service can name the same version.
// The guide speaks of what some features alone have; with all of them every link is checked.
#![cfg_attr(
    not(all(feature = "postgres", feature = "sqlite", feature = "route-audit")),
    allow(rustdoc::broken_intra_doc_links)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
// Users name a database instead.
#![cfg_attr(docsrs, doc(auto_cfg(hide(feature = "_diesel"))))]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_precision_loss
    )
)]

mod access_log;
pub mod admin;
mod allowed_ips;
mod app_key;
mod app_key_ext;
mod app_keys;
mod authorize;
mod cache;
mod change_feed;
mod circuit_breaker;
mod clock;
mod error;
#[cfg(any(feature = "_diesel", feature = "route-audit"))]
mod foreign_texts;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod guard;
#[cfg(any(doc, doctest))]
pub mod guide;
mod key;
mod key_record;
mod key_usage;
#[cfg(feature = "_diesel")]
mod list_keys;
mod lock;
mod log;
mod log_throttle;
mod lookup;
pub mod metrics;
#[cfg(feature = "_diesel")]
pub mod migrations;
mod new_key;
mod outage_log;
mod policy;
mod problem;
mod rejection;
mod request;
#[cfg(feature = "route-audit")]
pub mod route_audit;
mod scope;
#[cfg(feature = "serde")]
mod serialize;
pub mod store;
mod supervisor;
#[cfg(feature = "test-util")]
pub mod test_util;
mod usage;
mod watchdog;
mod workers;

/// Runs an actix-web handler only for a caller who presents a good key, from an address it may be used from.
///
/// Authentication comes strictly first: neither an extractor of the handler is made nor a byte of the body read before it. It stands
/// above or below the route macro (`#[get(..)]`, ..), on any function that actix-web takes for a handler; the application holds its
/// [`AppKeys`] in `app_data`.
///
/// | argument | the key must |
/// | --- | --- |
/// | none | be good |
/// | `scopes = "a b"` | have all of these scopes |
/// | `any_scope = "a b"` | have at least one of these |
/// | `optional` | be good if there is one; **who presents none is let through**, and the handler takes `Option<AppKey>` |
/// | `crate = path` | (where this crate has another name) |
///
/// What has no handler to stand above, such as files, and whole scopes are guarded by the same check as a middleware:
/// [`RequireAppKey`].
///
/// ```
/// use actix_web::{HttpResponse, Responder, delete, get, web::Path};
/// use api_key_runtime::{AppKey, require_app_key};
///
/// #[delete("/cakes/{id}")]
/// #[require_app_key(scopes = "cakes:delete")]
/// async fn delete_cake(id: Path<i64>, key: AppKey) -> impl Responder {
///     HttpResponse::Ok().body(format!("cake {id} deleted by {}", key.name()))
/// }
///
/// #[get("/menu")]
/// #[require_app_key(optional)]
/// async fn menu(key: Option<AppKey>) -> &'static str {
///     if key.is_some() { "cakes, with prices for bakers" } else { "cakes" }
/// }
/// ```
///
/// An associated function without `self` is a handler too, registered as `.to(Api::list)`. In it, types are named: `Self`, and what its
/// `impl` is generic over, are out of the handler's reach, as they are in any function within a function, and do not compile:
///
/// ```compile_fail,E0401
/// # use api_key_runtime::require_app_key;
/// struct Api;
///
/// impl Api {
///     const MENU: &'static str = "cakes";
///
///     #[require_app_key]
///     async fn menu() -> &'static str {
///         Self::MENU // write Api::MENU
///     }
/// }
/// ```
///
/// What is no handler is refused where it stands:
///
/// ```compile_fail
/// # use api_key_runtime::require_app_key;
/// #[require_app_key]
/// struct Cake;
/// ```
///
/// ```compile_fail
/// # use api_key_runtime::require_app_key;
/// #[require_app_key("cakes:delete")] // write scopes = "cakes:delete"
/// async fn delete_cake() -> &'static str { "" }
/// ```
#[doc(alias = "auth")]
#[doc(alias = "authentication")]
#[doc(alias = "guard")]
pub use api_key_macros::require_app_key;

#[doc(no_inline)]
pub use chrono;
#[cfg(feature = "_diesel")]
#[doc(no_inline)]
pub use diesel;

pub use app_key::AppKey;
pub use app_key_ext::AppKeyExt;
pub use app_keys::{AppKeys, AppKeysBuilder};
pub use error::Error;
pub use guard::RequireAppKey;
pub use rejection::RejectionKind;
pub use request::KeyLocation;
pub use scope::ScopeSet;

/// Whether keys can be checked at the moment, for a readiness route: [`AppKeys::health`].
pub mod health {
    pub use crate::change_feed::{FeedState, Health};
}

/// What the attribute expands to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use actix_web::{HttpRequest, web::Payload};

    pub use crate::{
        guard::{AnAttributeBelowRemovedTheHandler, BoxFuture, authenticated},
        policy::Policy,
    };
}
