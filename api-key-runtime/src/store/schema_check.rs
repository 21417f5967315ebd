//! What must be true of a database before keys are looked up in it: start-up refuses otherwise, and nothing is open meanwhile.

use super::{Database, Queries};
use crate::{error::Error, log, log_throttle::LogThrottle};

/// The versions in `api_key_meta`.
pub(crate) struct SchemaVersion {
    pub(crate) version: i32,
    /// The oldest release's version that reads these tables correctly.
    pub(crate) compatible_from: i32,
}

/// The version of the tables this release writes.
const SCHEMA_VERSION: i32 = 1;
const TABLES: [&str; 4] = ["api_key_changes", "api_key_meta", "api_key_usage", "api_keys"];

/// Of which databases it was said that their tables are newer.
static NEWER: LogThrottle<String> = LogThrottle::new();

/// Refuses tables that are missing, incompatible, or without their triggers; warns of newer ones, as rolling deploys meet them.
pub(crate) fn check(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let failed = |source| Error::database(format!("cannot read the tables of {database}"), source);
    if connection.is_standby().map_err(failed)? {
        return Err(hot_standby(database));
    }
    let existing = connection.existing_tables(&TABLES).map_err(failed)?;
    if let Some(missing) =
        TABLES.into_iter().find(|table| !existing.iter().any(|name| name == table))
    {
        return Err(Error::schema(format!(
            "{database} has no table {missing}: run `app-key migrate`, or your own copy of the migrations, or call AppKeysBuilder::migrate"
        )));
    }
    let Some(SchemaVersion { version, compatible_from }) =
        connection.schema_version().map_err(failed)?
    else {
        return Err(Error::schema(format!(
            "the table api_key_meta of {database} is empty, which no migration leaves it: restore its row"
        )));
    };
    if version < SCHEMA_VERSION {
        return Err(Error::schema(format!(
            "{database} has the tables of version {version}, and this release needs {SCHEMA_VERSION}: run `app-key migrate`"
        )));
    }
    if compatible_from > SCHEMA_VERSION {
        return Err(Error::schema(format!(
            "{database} has tables of version {version}, which releases before {compatible_from} misread, and this one reads \
             {SCHEMA_VERSION}: update api-key-runtime"
        )));
    }
    // Each new connection is checked, and a rolling deploy may take long.
    if version > SCHEMA_VERSION && NEWER.should_log(format!("{version} {database}")) {
        log::warn!(
            "{database} has tables of version {version}, newer than this release ({SCHEMA_VERSION}) but said to be compatible"
        );
    }
    check_triggers(database, connection)
}

pub(super) fn hot_standby(database: &Database) -> Error {
    Error::database(
        format!(
            "{database} is a hot standby, which may be behind: a revoked key would go on working"
        ),
        "name the writable primary, or add target_session_attrs=read-write to its URL",
    )
}

/// Without its triggers a database forgets to say what changed, and a revoked key would go on.
fn check_triggers(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let enabled = connection.enabled_triggers().map_err(|source| {
        Error::database(format!("cannot read the triggers of {database}"), source)
    })?;
    require_triggers(database, connection.required_triggers(), &enabled)
}

/// Refuses where one of the wanted triggers is not among those that are enabled.
pub(super) fn require_triggers(
    database: &Database,
    wanted: &[&str],
    enabled: &[String],
) -> Result<(), Error> {
    match wanted.iter().find(|trigger| !enabled.iter().any(|name| name == *trigger)) {
        None => Ok(()),
        Some(missing) => Err(Error::schema(format!(
            "the trigger {missing} on the table api_keys of {database} is missing or disabled, so revocations would go unnoticed: enable it, or \
             revert and run the migrations"
        ))),
    }
}
