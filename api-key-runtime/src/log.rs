//! Logging. Every line of this crate has the target `app_key`, so that one filter (`app_key=info`)
//! is enough.
//!
//! A module writes `use crate::log;` and then `log::warn!(..)`, as users of the crate `log` do.

macro_rules! error {
    ($($arguments:tt)+) => { ::log::error!(target: "app_key", $($arguments)+) };
}
macro_rules! warn_ {
    ($($arguments:tt)+) => { ::log::warn!(target: "app_key", $($arguments)+) };
}
macro_rules! info {
    ($($arguments:tt)+) => { ::log::info!(target: "app_key", $($arguments)+) };
}
macro_rules! debug {
    ($($arguments:tt)+) => { ::log::debug!(target: "app_key", $($arguments)+) };
}

// `warn_` is renamed here, because `warn` is also a built-in attribute.
pub(crate) use {debug, error, info, warn_ as warn};
