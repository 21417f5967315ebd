//! The databases of a run.

use crate::support::{Database, OwnServer, Proxy};

/// A database, with a separate server if the run may break that server.
pub(super) struct Place {
    database: Database,
    own_server: Option<OwnServer>,
}

impl Place {
    /// Creates a database on a separate Postgres server, which may be frozen, killed and restarted.
    pub(super) fn postgres() -> Self {
        let own_server = OwnServer::start();
        Self { database: own_server.database(), own_server: Some(own_server) }
    }

    /// Creates a database in a separate file.
    pub(super) fn sqlite() -> Self {
        Self::shared(Database::sqlite())
    }

    /// Uses this database. Its server, if any, is shared with other tests.
    pub(super) fn shared(database: Database) -> Self {
        Self { database, own_server: None }
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    pub(super) fn url(&self) -> &str {
        self.database.url()
    }

    pub(super) fn own_server(&self) -> Option<&OwnServer> {
        self.own_server.as_ref()
    }

    /// Returns a proxy that can break connections to the separate server, or `None` without such a
    /// server.
    pub(super) fn proxy(&self) -> Option<Proxy> {
        self.own_server.as_ref().map(|server| Proxy::start(server.address()))
    }
}
