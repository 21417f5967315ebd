//! Functions for the benches of this project. These functions are not covered by semantic
//! versioning.
#![allow(clippy::missing_errors_doc, missing_docs)]

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};

use crate::{app_keys::AppKeys, key::KeyDigest, policy::Policy};

/// Runs the function that the attribute awaits. Returns only the status of a rejection.
pub async fn authenticate(policy: &Policy, request: &HttpRequest) -> Result<(), StatusCode> {
    match crate::guard::authenticate(policy, request).await {
        Ok(_) => Ok(()),
        Err(rejection) => Err(rejection.status()),
    }
}

/// Looks a digest up in the map of cached keys, without any other check. Returns whether there is
/// an entry, even if the entry is not current.
#[must_use]
pub fn probe(keys: &AppKeys, digest: &KeyDigest) -> bool {
    keys.inner().cache.holds(digest)
}

/// Computes the digest of a key with the current algorithm, as a request does.
#[must_use]
pub fn digest(keys: &AppKeys, key: &[u8]) -> KeyDigest {
    keys.inner().digester.digest(key)
}

/// Sets the headers that every response of a guarded handler carries.
pub fn finish(keys: &AppKeys, response: &mut HttpResponse) {
    keys.inner().responses.headers().set(response, false);
}
