//! Functions that only the benches of this project call. Semantic versioning does not cover this
//! module.
#![allow(clippy::missing_errors_doc, missing_docs)]

use actix_web::{HttpRequest, http::StatusCode};

use crate::{app_keys::AppKeys, key::KeyDigest, policy::Policy};

/// The very function that the attribute awaits; of a refusal only the status.
pub async fn authenticate(policy: &Policy, request: &HttpRequest) -> Result<(), StatusCode> {
    match crate::guard::authenticate(policy, request).await {
        Ok(_) => Ok(()),
        Err(rejection) => Err(rejection.status()),
    }
}

/// One probe of the map that keys are kept in, with nothing around it: whether this one is there,
/// believed or not.
#[must_use]
pub fn probe(keys: &AppKeys, digest: &KeyDigest) -> bool {
    keys.inner().cache.holds(digest)
}
