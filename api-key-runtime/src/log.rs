//! The log: every line of this crate has the target `app_key`, whichever module writes it, so that
//! one filter (`app_key=info`) is enough.
//!
//! A module writes `use crate::log;` and then `log::warn!(..)`, as with the crate of this name.

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

// Not named `warn` at once, because an attribute of that name is built in.
pub(crate) use {debug, error, info, warn_ as warn};
