//! Tests that cross crates, on both databases and over the wire. GUARANTEES.md lists the
//! requirements, each with its tests.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

mod addresses;
mod administration;
mod answers;
mod at_rest;
mod caching;
mod change_feed;
mod closing;
mod code;
mod command;
mod conformance;
mod diesel_command;
mod examples;
mod failures;
mod forgotten_routes;
mod guarantees;
mod guide;
mod handlers;
mod history;
mod key_sets;
mod life;
mod metrics;
mod middleware;
mod own_pool;
mod packages;
mod readme;
mod sign_up;
mod stores;
mod tables;
mod test_kit;
mod untouched;
mod usage;
