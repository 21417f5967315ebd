//! The settings of the service, which come from environment variables. `AppKeysBuilder::env` reads
//! the settings of the keys (`APP_KEY_..`).

use std::{
    env::{self, VarError},
    io,
};

const DEFAULT_BIND: &str = "127.0.0.1:8080";

pub(crate) struct Settings {
    pub(crate) database_url: String,
    pub(crate) bind: String,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, String> {
        Ok(Self {
            database_url: variable("DATABASE_URL")?
                .ok_or("DATABASE_URL is not set; set it to postgres://USER@HOST/DATABASE or to the path of an SQLite file")?,
            bind: variable("BIND")?.unwrap_or_else(|| DEFAULT_BIND.to_owned()),
        })
    }

    /// Returns a message that states why the server cannot listen, and what to do about it.
    pub(crate) fn cannot_listen(&self, error: &io::Error) -> String {
        let bind = &self.bind;
        if error.kind() == io::ErrorKind::AddrInUse {
            format!(
                "{bind} is in use, probably by another program; set BIND=127.0.0.1:8081 for another port, or BIND=127.0.0.1:0 for any free port"
            )
        } else {
            format!(
                "cannot listen on {bind}: {error}; set BIND to an address and a port, such as {DEFAULT_BIND}"
            )
        }
    }
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(format!("{name} is not Unicode; set it to a value in UTF-8"))
        }
    }
}
