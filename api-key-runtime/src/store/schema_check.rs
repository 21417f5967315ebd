//! What must be true of a database before keys are looked up in it: start-up refuses otherwise, and
//! nothing is open meanwhile.

use super::{Database, Queries, connection::Elsewhere};
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

/// Refuses tables that are missing, incompatible, or without their triggers; warns of newer ones,
/// as rolling deploys meet them.
pub(crate) fn check(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let failed = |source| Error::database(format!("cannot read the tables of {database}"), source);
    if connection.is_standby().map_err(failed)? {
        return Err(hot_standby(database));
    }
    check_tables(database, connection)
}

/// Refuses tables that are missing, incompatible, hidden, or without their triggers.
pub(super) fn check_tables(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let failed = |source| Error::database(format!("cannot read the tables of {database}"), source);
    let existing = connection.existing_tables(&TABLES).map_err(failed)?;
    if let Some(missing) =
        TABLES.into_iter().find(|table| !existing.iter().any(|name| name == table))
    {
        refuse_elsewhere(database, connection, |_| true)?;
        return Err(Error::schema(format!(
            "{database} has no table {missing} (a view or a partitioned table does not count): run `app-key migrate`, or your own copy of the migrations, or call AppKeysBuilder::migrate"
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
    if connection.hides_rows().map_err(failed)? {
        return Err(hidden_rows(database));
    }
    check_triggers(database, connection)
}

/// Refuses tables that are there but not found: a second, empty set of them would make every key
/// unknown.
pub(super) fn refuse_elsewhere(
    database: &Database,
    connection: &mut dyn Queries,
    is_refused: impl Fn(&Elsewhere) -> bool,
) -> Result<(), Error> {
    let found = connection.tables_elsewhere().map_err(|source| {
        Error::database(format!("cannot read the tables of {database}"), source)
    })?;
    let Some(elsewhere) = found.filter(is_refused) else { return Ok(()) };
    let Elsewhere { schema, is_forbidden } = elsewhere;
    Err(Error::schema(if is_forbidden {
        format!(
            "the tables of {database} are in the schema {schema}, which this role may not use: GRANT USAGE ON SCHEMA {schema} TO it"
        )
    } else {
        format!(
            "the tables of {database} are in the schema {schema}, which is not in the search_path: add it, for example with \
             ALTER ROLE .. SET search_path; for a second set of keys in this schema run `app-key migrate`"
        )
    }))
}

pub(super) fn hot_standby(database: &Database) -> Error {
    Error::database(
        format!(
            "{database} is a hot standby, which may be behind: a revoked key would go on working"
        ),
        "name the writable primary, or add target_session_attrs=read-write to its URL",
    )
}

/// Every key would be unknown, or a revocation unseen, without any error.
pub(super) fn hidden_rows(database: &Database) -> Error {
    Error::schema(format!(
        "row-level security hides rows of api_keys or api_key_changes of {database} from this role: \
         run `ALTER TABLE .. DISABLE ROW LEVEL SECURITY`, or grant the role BYPASSRLS"
    ))
}

/// Within a transaction of the application, a connection may read uncommitted rows, or the past.
pub(super) fn open_transaction(database: &Database) -> Error {
    Error::database(
        format!(
            "a connection of the application's pool to {database} is within a transaction, so it is not used for keys"
        ),
        "a handler has put a connection back after BEGIN without COMMIT; use Connection::transaction of Diesel",
    )
}

/// Without its triggers a database forgets to say what changed, and a revoked key would go on.
fn check_triggers(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let enabled = connection.enabled_triggers().map_err(|source| {
        Error::database(format!("cannot read the triggers of {database}"), source)
    })?;
    require_triggers(database, connection.required_triggers(), &enabled)
}

/// Refuses where one of the wanted triggers is not among those that are enabled. On Postgres each
/// has the letter of `tgenabled` after a colon: one that is enabled for other sessions than it
/// should be is as good as missing.
pub(super) fn require_triggers(
    database: &Database,
    wanted: &[&str],
    enabled: &[String],
) -> Result<(), Error> {
    if let Some(foreign) = enabled.iter().find_map(|name| name.strip_prefix("foreign ")) {
        return Err(Error::schema(format!(
            "the table api_key_changes of {database} has the trigger or rule {foreign}, which may keep changes of keys out of it: drop it"
        )));
    }
    let Some(missing) = wanted.iter().find(|trigger| !enabled.iter().any(|name| name == *trigger))
    else {
        return Ok(());
    };
    let name = missing.split(':').next().unwrap_or(missing);
    Err(Error::schema(format!(
        "the trigger {name} of {database} is missing or not enabled as its migration enables it, so revocations would go unnoticed: run \
         `app-key migrate`, which enables it; if it is missing, revert and run the migrations"
    )))
}
