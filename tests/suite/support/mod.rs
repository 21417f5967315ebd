//! What the tests stand on: a database of their own each, a real server on loopback, a client that sends raw bytes, and the log; and
//! for what breaks, a proxy that damages the path and a database server that can be frozen and killed.

pub(crate) mod allocator;
pub(crate) mod database;
pub(crate) mod fixtures;
pub(crate) mod http;
pub(crate) mod leaks;
pub(crate) mod log;
pub(crate) mod markdown;
#[cfg(target_os = "linux")]
pub(crate) mod own_server;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod server;
pub(crate) mod tap;

pub(crate) use database::{Database, database_test};
pub(crate) use fixtures::{Counting, Fixtures};
#[cfg(target_os = "linux")]
pub(crate) use own_server::OwnServer;
pub(crate) use proxy::Proxy;
pub(crate) use server::Server;
pub(crate) use tap::Tap;

/// Ports to try, below those that systems hand out by themselves.
pub(crate) fn free_ports() -> impl Iterator<Item = u16> {
    use std::hash::{BuildHasher as _, RandomState};
    (0..100_u16).map(|number| 20_000 + (RandomState::new().hash_one(number) % 12_000) as u16)
}
