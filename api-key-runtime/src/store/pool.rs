//! The application's own pool. Each connection is borrowed only briefly.

use std::time::Duration;

use diesel::r2d2::{ConnectionManager, Pool, PooledConnection, R2D2Connection};

use super::connection::{Held, Queries};
use crate::{
    error::Error,
    foreign_texts::{POOL_TIMED_OUT, reason_of_pool_error},
    log,
};

pub(crate) type Pooled<C> = PooledConnection<ConnectionManager<C>>;

/// How long a lookup, a read of changes or the recording of usage waits for a connection of the
/// pool.
pub(super) const POOL_TIMEOUT: Duration = Duration::from_secs(1);

/// The extension that marks a pooled connection whose tables were checked.
struct Checked;

impl<C: Queries + R2D2Connection> Held for Pooled<C> {
    fn queries(&mut self) -> &mut dyn Queries {
        &mut **self
    }

    fn is_borrowed(&self) -> bool {
        true
    }

    fn is_checked(&self) -> bool {
        PooledConnection::extensions(self).get::<Checked>().is_some()
    }

    fn set_checked(&mut self) {
        PooledConnection::extensions_mut(self).insert(Checked);
    }
}

pub(super) fn get<C: R2D2Connection + Send + 'static>(
    pool: &Pool<ConnectionManager<C>>,
    timeout: Duration,
) -> Result<Pooled<C>, Error> {
    pool.get_timeout(timeout).map_err(|error| {
        let message = error.to_string();
        let reason = if is_harmless(reason_of_pool_error(&message)) {
            message
        } else {
            format!(
                "{POOL_TIMED_OUT} (the cause is not shown, because it may contain the password)"
            )
        };
        Error::database("cannot get a connection from the application's pool", reason)
    })
}

fn is_harmless(reason: &str) -> bool {
    #[cfg(feature = "postgres")]
    let is_harmless = crate::foreign_texts::is_about_a_server(reason);
    #[cfg(not(feature = "postgres"))]
    let is_harmless = false;
    is_harmless || reason.is_empty()
}

pub(super) fn warn_of_long_timeout<C: R2D2Connection + Send + 'static>(
    pool: &Pool<ConnectionManager<C>>,
) {
    let timeout = pool.connection_timeout();
    if timeout > POOL_TIMEOUT {
        log::warn!(
            "the connection_timeout of the application's pool is {timeout:?}: after an outage, the \
             pool may wait half of that time before it reconnects, and lookups fail until then. \
             Set connection_timeout to one second or less, or use database_url instead of the pool"
        );
    }
}
