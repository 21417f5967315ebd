//! Support for the tests: a database for each test, a real server on loopback, a client that sends
//! raw bytes, and the log. Tests of failures use a proxy that breaks connections, and a database
//! server that can be frozen or killed.

pub(crate) mod allocator;
mod counted;
pub(crate) mod database;
mod fake_store;
pub(crate) mod fixtures;
pub(crate) mod http;
pub(crate) mod leaks;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod markdown;
#[cfg(target_os = "linux")]
pub(crate) mod own_server;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod recipe;
mod routes;
pub(crate) mod server;
#[path = "../../servers/mod.rs"]
pub(crate) mod servers;
pub(crate) mod tap;
mod wait;
pub(crate) mod wire;

pub(crate) use counted::CountedServer;
pub(crate) use database::{Database, database_test};
pub(crate) use fake_store::{FakeChanges, FakeStore};
pub(crate) use fixtures::Fixtures;
#[cfg(target_os = "linux")]
pub(crate) use own_server::OwnServer;
pub(crate) use proxy::Proxy;
pub(crate) use routes::guarded_routes;
pub(crate) use server::Server;
pub(crate) use servers::{free_ports, own_folder};
pub(crate) use tap::Tap;
pub(crate) use wait::{LONG_DEADLINE, MAX_STALENESS, TEST_TIMEOUT, refused_in_time, wait_until};

/// Returns the bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Raises the number of files and connections that this process may open to `count`, or to the
/// system's limit if that limit is lower.
pub(crate) fn allow_open_files(count: u64) {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < count) {
            limit.current = Some(limit.maximum.map_or(count, |maximum| maximum.min(count)));
            setrlimit(Resource::Nofile, limit).unwrap();
        }
    }
}
