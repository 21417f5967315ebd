//! API key authentication for actix-web: [`#[require_app_key]`](require_app_key) rejects a request
//! without a valid key before the handler or any of its extractors runs.
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
//! - **Checked first.** The key is checked before any extractor runs and before the body is read.
//! - **Only digests are stored.** The tables are in Postgres or SQLite, and Diesel migrations
//!   manage them. Your own [`KeyStore`](store::KeyStore) can replace the tables.
//! - **Cached.** A cached key needs no database query. A revocation reaches every process within
//!   [`max_staleness`](AppKeysBuilder::max_staleness) (1 second by default), and usually within
//!   milliseconds.
//! - **Restricted.** Each key has its own IP allow list, scopes and expiry.
//! - **Managed** with the command `app-key`, or in code with [`Admin`](admin::Admin).
//!
//! # When to use it
//!
//! Use this crate if programs such as scripts, devices and the servers of partners call your
//! service, and if you issue and revoke their keys yourself. For users in a browser, use sessions.
//! For tokens from an identity provider (OAuth 2.0, OIDC), use a library that validates such
//! tokens. The crate does not limit request rates; the chapter [`faq`](guide::faq) names other ways
//! to limit them.
//!
//! # Getting started
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
//!     HttpServer::new(move || App::new().app_data(keys.clone()).service(me))
//!         .bind("127.0.0.1:8080")?
//!         .run()
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! Start the service:
//!
//! ```text
//! export DATABASE_URL=shop.db
//! cargo run
//! ```
//!
//! Then issue a key in another terminal, with the same `DATABASE_URL`, and send a request with it:
//!
//! ```sh
//! KEY=$(app-key issue --name me --ip 127.0.0.1)
//! curl -sS -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/me
//! ```
//!
//! The chapter [`start`](guide::start) explains each step, and how to install the command.
//!
//! The folder `examples` of the repository contains complete services:
//!
//! | example | shows |
//! | --- | --- |
//! | `hello` | the service above |
//! | `cakes` | a larger service: a Diesel table, a pool, forms and JSON, its own rejection bodies |
//! | `own_pool` | the application's own r2d2 pool and Diesel migrations |
//! | `owners` | keys that belong to users of the application |
//! | `own_table` | a `KeyStore` over the application's own table |
//! | `middleware` | [`RequireAppKey`] around a scope and around files |
//! | `behind_proxy` | nginx in front: client IPs, access log, readiness, shutdown |
//! | `two_key_sets` | separate keys for partners |
// The guide's table of chapters. `rustdoc_links.md` makes its links lead to modules.
#![cfg_attr(
    any(doc, doctest),
    doc = "",
    doc = include_str!("../guide/rustdoc_links.md"),
    doc = include_str!("../guide/README.md"),
    doc = ""
)]
//! # Modules
//!
//! The crate root contains what most services need: the attribute, the middleware, [`AppKeys`] with
//! its builder, and [`AppKey`], the verified key. The modules contain the rest:
//!
//! | module | contents |
//! | --- | --- |
//! | [`admin`] | issuing, listing and changing keys; the record, IP allow list, secret and state of a key |
//! | [`store`] | storing keys elsewhere; joining the key tables in your own queries |
//! | [`migrations`] | creating and upgrading the tables |
//! | [`health`], [`metrics`] | readiness; counters and gauges |
//! | [`test_util`], [`route_audit`] | in-memory keys and a settable clock for tests; a test that finds unprotected routes |
//!
//! # Cargo features
//!
//! No feature is enabled by default. A service needs `postgres`, `sqlite` or its own
//! [`KeyStore`](store::KeyStore). The oldest supported Rust is 1.89.
//!
//! | feature | enables |
//! | --- | --- |
//! | `postgres` | keys in Postgres, through the system's libpq, with TLS |
//! | `sqlite` | keys in SQLite, through the system's libsqlite3 |
//! | `postgres-bundled` | `postgres` with a libpq that is built from source and has no TLS; needs a C compiler; for development and tests |
//! | `sqlite-bundled` | `sqlite` with an SQLite that is built from source; needs a C compiler |
//! | `serde` | `Serialize` for [`KeyRecord`](admin::KeyRecord), [`KeyUsage`](admin::KeyUsage), [`Health`](health::Health), [`Metrics`](metrics::Metrics) and the types of their serialized fields |
//! | `test-util` | [`test_util`]: helpers for tests of your handlers and stores |
//! | `route-audit` | [`route_audit`]: the test that finds unprotected routes; includes `test-util` |
//!
//! # Public dependencies
//!
//! `actix-web` 4, `chrono` 0.4 and, with a database, `diesel` 2.3 are part of this API. [`chrono`]
//! and [`diesel`] are re-exported, so that a service can use the same versions.
// The guide links to items behind these features. Without one of them, some links are broken.
#![cfg_attr(
    not(all(feature = "postgres", feature = "sqlite", feature = "route-audit")),
    allow(rustdoc::broken_intra_doc_links)
)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
// The documentation hides `_diesel`, because users enable `postgres` or `sqlite` instead.
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
mod client_ip;
mod clock;
mod error;
#[cfg(feature = "_diesel")]
mod explain;
#[cfg(any(feature = "_diesel", feature = "route-audit"))]
mod foreign_texts;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod guard;
#[cfg(any(doc, doctest))]
pub mod guide;
#[cfg(feature = "_diesel")]
mod import;
mod key;
mod key_changes;
#[cfg(feature = "_diesel")]
mod key_event;
mod key_fields;
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
#[cfg(feature = "_diesel")]
mod prune;
mod rejection;
mod request;
#[cfg(feature = "_diesel")]
mod rotation;
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

/// Runs an actix-web handler only for requests with a valid API key.
///
/// A key is valid if it is in the key table, is not revoked, disabled or expired, and may be used
/// from the client IP. The check runs first. Until the check has accepted the request, no extractor
/// of the handler runs and no byte of the body is read. A rejected request gets one of the
/// responses of [`RejectionKind`].
///
/// The attribute stands above or below the route macro (`#[get(..)]`), on any function that
/// actix-web accepts as a handler. The application holds its [`AppKeys`] in `app_data`.
///
/// | argument | effect |
/// | --- | --- |
/// | none | requires a valid key |
/// | `scopes = "a b"` | requires a key with all of these scopes |
/// | `any_scope = "a b"` | requires a key with at least one of these scopes; together with `scopes`, both conditions must be met |
/// | `optional` | **also accepts requests without a key**; a key that is sent must be valid. The handler takes `Option<AppKey>` |
/// | `crate = path` | sets the path of this crate, if the application renames it. Defaults to `::api_key_runtime` |
///
/// A second `#[require_app_key]` on the same function is a compile error.
///
/// The middleware [`RequireAppKey`] performs the same check for whole actix-web scopes, and for
/// services without a handler function, such as static files.
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
/// An associated function without `self` can be a handler as well: register it with
/// `.to(Api::menu)`. The attribute moves the function's body into an inner function. So the body
/// cannot use the generic parameters of the `impl`, and cannot use `Self`; write the name of the
/// type instead:
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
/// Applying the attribute to anything other than a function is a compile error. So is an argument
/// that the table does not list:
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
#[doc(alias = "api key")]
#[doc(alias = "auth")]
#[doc(alias = "authentication")]
#[doc(alias = "authorization")]
#[doc(alias = "bearer")]
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

/// Readiness: whether keys can be checked at the moment. [`AppKeys::health`] returns a
/// [`Health`](health::Health).
pub mod health {
    pub use crate::change_feed::{FeedState, Health};
}

/// The items used in the expansion of the attribute. They are not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        guard::{AnAttributeBelowRemovedTheHandler, BoxFuture, UncheckedRequest, authenticated},
        policy::Policy,
    };

    /// The policy of the attribute without arguments.
    pub static ANY_KEY: Policy = Policy::new();
}
