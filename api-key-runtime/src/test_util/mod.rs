//! What tests need and services must not have: keys and a clock in memory, a list of the routes that are open, and the suite that every
//! store must pass.
//!
//! # Testing your handlers
//!
//! Name the feature where only tests are built with it. Services must not be: it makes actix-web list their routes.
//!
//! ```toml
//! [dev-dependencies]
//! api-key-runtime = { path = "../require_app_key/api-key-runtime", features = ["test-util"] }
//! ```
//!
//! No database is needed: [`TestKeys`] keeps keys in memory, and its clock stands still until it is set.
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
//! A key that is bound to addresses is issued by [`TestKeys::issue_new`]; the request comes from where `TestRequest::peer_addr` says.
//!
//! # No route forgotten
//!
//! [`assert_protected`] calls every route of the application without a key. One test of it keeps routes from being added without the
//! attribute.

mod acceptance;
#[doc(hidden)]
pub mod bench;
mod keys;
mod memory_store;
mod protected;

pub use crate::clock::TestClock;
pub use acceptance::{StoreFactory, acceptance_suite};
pub use keys::{Presentable, TestKeys, TestRequestExt};
pub use memory_store::MemoryStore;
pub use protected::{Exceptions, ProtectionReport, assert_protected, protection_report, public};
