//! Keys for tests of handlers, and requests with those keys.

use std::{fmt, time::Duration};

use actix_web::{http::header::AUTHORIZATION, test::TestRequest};
use chrono::Utc;

use super::{MemoryStore, TestClock};
use crate::{
    app_keys::{AppKeys, AppKeysBuilder},
    key::KeySecret,
    new_key::{IssuedKey, NewKey},
};

/// Lifetime of a key of [`TestKeys::issue`].
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A key set for tests of handlers, with its store and its clock.
///
/// The store is in memory and the clock does not advance by itself, so tests need no database and
/// no waiting.
///
/// ```
/// use actix_web::App;
/// use api_key_runtime::test_util::TestKeys;
///
/// let keys = TestKeys::new();
/// let app = App::new().app_data(keys.app_keys.clone());
/// let reader = keys.issue("cakes:read");
/// keys.revoke(&reader);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestKeys {
    /// The key set, for the application's `app_data`.
    pub app_keys: AppKeys,
    /// The clock that the expiry of keys is checked against. It does not advance by itself.
    pub clock: TestClock,
    /// The store of the keys.
    pub store: MemoryStore,
}

impl TestKeys {
    /// Creates a key set with default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// Creates a key set with other settings: `TestKeys::with(|builder| builder.prefix("shop_"))`.
    ///
    /// `TestKeys` always sets its own store, its own clock and a `max_staleness` of zero.
    ///
    /// ```
    /// use api_key_runtime::{KeyLocation, test_util::TestKeys};
    ///
    /// let keys = TestKeys::with(|builder| {
    ///     builder.prefix("shop_").key_locations([KeyLocation::bearer()])
    /// });
    /// assert!(keys.issue("").secret.expose_secret().starts_with("shop_"));
    /// ```
    ///
    /// # Panics
    /// Panics if `build` rejects the settings.
    #[must_use]
    #[track_caller]
    pub fn with(settings: impl FnOnce(AppKeysBuilder) -> AppKeysBuilder) -> Self {
        let clock = TestClock::at(Utc::now());
        let store = MemoryStore::default();
        let builder = settings(AppKeys::builder())
            .store(store.clone())
            // With this setting, a change in a test takes effect in the next request of the test.
            .max_staleness(Duration::ZERO)
            .clock(clock.clone());
        Self { app_keys: or_fail(builder.build()), clock, store }
    }

    /// Issues a key with these scopes, separated by spaces. `""` means no scopes. The key is valid
    /// from any address. It expires after one hour on the test clock.
    ///
    /// # Panics
    /// Panics if a scope is invalid.
    #[must_use]
    #[track_caller]
    pub fn issue(&self, scopes: &str) -> IssuedKey {
        let new = or_fail(NewKey::new("test").allow_any().scopes(scopes));
        self.issue_new(&new.expires_in(LIFETIME))
    }

    /// Issues a key with any other properties.
    ///
    /// # Panics
    /// Panics if the key cannot be issued as specified.
    #[must_use]
    #[track_caller]
    pub fn issue_new(&self, new: &NewKey) -> IssuedKey {
        let mut issued = or_fail(self.app_keys.make_key(new));
        issued.record.id = self.store.put(issued.record.clone());
        issued
    }

    /// Revokes a key at the current time of the clock.
    pub fn revoke(&self, key: &IssuedKey) {
        let now = self.clock.now();
        self.store.change(key.record.id, |record| record.revoked_at = Some(now));
    }
}

impl Default for TestKeys {
    fn default() -> Self {
        Self::new()
    }
}

#[track_caller]
fn or_fail<T, E: fmt::Display>(result: Result<T, E>) -> T {
    #[allow(clippy::panic, reason = "a test fails by panicking")]
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Adds keys to actix-web's test requests. This trait is sealed: only [`TestRequest`] implements
/// it.
pub trait TestRequestExt: sealed::Sealed {
    /// Adds a key in `Authorization: Bearer`.
    ///
    /// For other key locations use `insert_header`, `cookie` or `uri` with
    /// `key.secret.expose_secret()`.
    ///
    /// ```
    /// use actix_web::test::TestRequest;
    /// use api_key_runtime::test_util::{TestKeys, TestRequestExt as _};
    ///
    /// let key = TestKeys::new().issue("cakes:read");
    /// let request = TestRequest::get().uri("/cakes").with_app_key(&key).to_request();
    /// ```
    #[must_use]
    fn with_app_key<K: Presentable + ?Sized>(self, key: &K) -> Self;
}

impl TestRequestExt for TestRequest {
    fn with_app_key<K: Presentable + ?Sized>(self, key: &K) -> Self {
        self.insert_header((AUTHORIZATION, format!("Bearer {}", key.presented())))
    }
}

/// A key for [`TestRequestExt::with_app_key`]: an issued key or any text. This trait is sealed.
pub trait Presentable: sealed::Sealed {
    /// Returns the key in plain text.
    fn presented(&self) -> &str;
}

impl Presentable for IssuedKey {
    fn presented(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl Presentable for KeySecret {
    fn presented(&self) -> &str {
        self.expose_secret()
    }
}

impl Presentable for str {
    fn presented(&self) -> &str {
        self
    }
}

impl Presentable for String {
    fn presented(&self) -> &str {
        self
    }
}

mod sealed {
    use super::{IssuedKey, KeySecret, TestRequest};

    pub trait Sealed {}

    impl Sealed for TestRequest {}
    impl Sealed for IssuedKey {}
    impl Sealed for KeySecret {}
    impl Sealed for str {}
    impl Sealed for String {}
}
