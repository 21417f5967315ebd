//! Support for the benchmarks: results, a private Postgres, databases full of keys, a real server,
//! and load for it.

pub(crate) mod check;
pub(crate) mod database;
pub(crate) mod figures;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod plot;
pub(crate) mod process;
pub(crate) mod server;
#[path = "../../servers/mod.rs"]
pub(crate) mod servers;
pub(crate) mod store;

pub(crate) use self::{
    check::{authenticate, floor, presented, request, requests},
    database::Database,
    figures::{figure, heading, ratio, ratio_of_ns},
    keys::{Key, make_keys},
    load::{Client, Load},
    server::Server,
    servers::Postgres,
    store::Watched,
};
