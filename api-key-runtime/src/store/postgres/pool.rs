//! The application's own pool of Postgres connections.

use std::time::Duration;

use diesel::{
    PgConnection,
    r2d2::{ConnectionManager, Pool},
};

use crate::{
    error::Error,
    store::pool::{Pooled, get, warn_of_long_timeout},
};

/// A pool of Postgres connections.
#[derive(Clone)]
pub(crate) struct PostgresPool(Pool<ConnectionManager<PgConnection>>);

impl PostgresPool {
    pub(crate) fn new(pool: Pool<ConnectionManager<PgConnection>>) -> Self {
        warn_of_long_timeout(&pool);
        Self(pool)
    }

    pub(crate) fn get(&self, timeout: Duration) -> Result<Pooled<PgConnection>, Error> {
        get(&self.0, timeout)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.0.connection_timeout()
    }

    pub(crate) fn idle(&self) -> u32 {
        self.0.state().idle_connections
    }
}
