//! What the tests stand on: a database of their own each, a real server on loopback, a client that sends raw bytes, and the log.

pub(crate) mod allocator;
pub(crate) mod database;
pub(crate) mod fixtures;
pub(crate) mod http;
pub(crate) mod leaks;
pub(crate) mod log;
pub(crate) mod server;
pub(crate) mod tap;

pub(crate) use database::{Database, database_test};
pub(crate) use fixtures::{Counting, Fixtures};
pub(crate) use server::Server;
pub(crate) use tap::Tap;
