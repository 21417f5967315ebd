//! Keys and a clock in memory for tests of handlers, and the acceptance suite for stores.
//!
//! # Testing handlers
//!
//! Enable the feature `test-util` only for tests: a service must not have a clock that can be set.
//!
//! ```toml
//! [dev-dependencies]
//! api-key-runtime = { path = "../require_app_key/api-key-runtime", features = ["test-util"] }
//! ```
//!
//! No database is needed: [`TestKeys`] keeps keys in memory, and its clock advances only when a
//! test sets it.
//!
//! ```
//! use std::time::Duration;
//!
//! use actix_web::{App, Responder, delete, test, web};
//! use api_key_runtime::{
//!     require_app_key,
//!     test_util::{TestKeys, TestRequestExt as _},
//! };
//!
//! #[delete("/cakes/{id}")]
//! #[require_app_key(scopes = "cakes:delete")]
//! async fn delete_cake(id: web::Path<i64>) -> impl Responder {
//!     format!("cake {id} is deleted")
//! }
//!
//! # #[actix_web::main] async fn main() {
//! let keys = TestKeys::new();
//! let (deleter, reader) = (keys.issue("cakes:delete"), keys.issue("cakes:read"));
//! let app = App::new().app_data(keys.app_keys.clone()).service(delete_cake);
//! let app = test::init_service(app).await;
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
//! Use [`TestKeys::issue_new`] for a key with an IP allow list, and `TestRequest::peer_addr` to set
//! the client IP of a request.
//!
#![cfg_attr(
    feature = "route-audit",
    doc = "[`route_audit`](crate::route_audit) finds routes that are not protected."
)]
#![cfg_attr(
    not(feature = "route-audit"),
    doc = "The feature `route-audit` finds routes that are not protected."
)]

mod acceptance;
// This module is only for the benches of this project, and is not part of the API.
#[doc(hidden)]
pub mod bench;
mod keys;
mod memory_store;

pub use crate::clock::TestClock;
pub use acceptance::{StoreFactory, acceptance_suite};
pub use keys::{Presentable, TestKeys, TestRequestExt};
pub use memory_store::MemoryStore;
