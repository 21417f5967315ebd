//! Keys and a clock in memory for tests of your handlers, and the suite that every store must pass.
//!
//! # Testing your handlers
//!
//! Enable the feature `test-util` for tests only: services have no use for a clock that can be set.
//!
//! ```toml
//! [dev-dependencies]
//! api-key-runtime = { path = "../require_app_key/api-key-runtime", features = ["test-util"] }
//! ```
//!
//! No database is needed: [`TestKeys`] keeps keys in memory, and its clock stands still until it is
//! set.
//!
//! ```
//! use std::time::Duration;
//!
//! use actix_web::{App, Responder, delete, test, web};
//! use api_key_runtime::{require_app_key, test_util::{TestKeys, TestRequestExt as _}};
//!
//! #[delete("/cakes/{id}")]
//! #[require_app_key(scopes = "cakes:delete")]
//! async fn delete_cake(id: web::Path<i64>) -> impl Responder {
//!     format!("cake {id} is gone")
//! }
//!
//! # #[actix_web::main] async fn main() {
//! let keys = TestKeys::new();
//! let (deleter, reader) = (keys.issue("cakes:delete"), keys.issue("cakes:read"));
//! let app = test::init_service(App::new().app_data(keys.app_keys.clone()).service(delete_cake)).await;
//! let request = || test::TestRequest::delete().uri("/cakes/1");
//!
//! assert_eq!(request().send_request(&app).await.status(), 401);
//! assert_eq!(request().with_app_key(&reader).send_request(&app).await.status(), 403);
//! assert_eq!(request().with_app_key(&deleter).send_request(&app).await.status(), 200);
//! keys.clock.advance(Duration::from_secs(2 * 3600));
//! assert_eq!(request().with_app_key(&deleter).send_request(&app).await.status(), 401);
//! # }
//! ```
//!
//! A key that is bound to addresses is issued by [`TestKeys::issue_new`]; the request comes from
//! where `TestRequest::peer_addr` says.
//!
#![cfg_attr(
    feature = "route-audit",
    doc = "[`route_audit`](crate::route_audit) finds the routes that were forgotten."
)]
#![cfg_attr(
    not(feature = "route-audit"),
    doc = "The feature `route-audit` finds the routes that were forgotten."
)]

mod acceptance;
// For the benches of this project only: no part of the API.
#[doc(hidden)]
pub mod bench;
mod keys;
mod memory_store;

pub use crate::clock::TestClock;
pub use acceptance::{StoreFactory, acceptance_suite};
pub use keys::{Presentable, TestKeys, TestRequestExt};
pub use memory_store::MemoryStore;
