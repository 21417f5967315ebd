//! Where the keys of a run are.

use crate::support::{Database, OwnServer, Proxy};

/// A database, and the server of its own where it is one to break.
pub(super) struct Place {
    database: Database,
    own_server: Option<OwnServer>,
}

impl Place {
    /// On a Postgres server of its own, which may be frozen, killed and started again.
    pub(super) fn postgres() -> Self {
        let own_server = OwnServer::start();
        Self { database: own_server.database(), own_server: Some(own_server) }
    }

    /// In a file of its own.
    pub(super) fn sqlite() -> Self {
        Self::shared(Database::sqlite())
    }

    /// On a server that others use as well.
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

    /// A way to its server that can be broken.
    pub(super) fn proxy(&self) -> Option<Proxy> {
        self.own_server.as_ref().map(|server| Proxy::start(server.address()))
    }
}
