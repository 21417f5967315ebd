//! Checks that run before a connection is used. If a check fails, start-up or the lookup fails,
//! because a revocation could be missed or every key could seem unknown.

use super::{Database, Queries, connection::Elsewhere};
use crate::{error::Error, log, log_throttle::LogThrottle};

/// The versions in `api_key_meta`.
pub(crate) struct SchemaVersion {
    pub(crate) version: i32,
    /// The lowest schema version that a release must support to read these tables correctly.
    pub(crate) compatible_from: i32,
}

/// The version of the tables that this release creates.
const SCHEMA_VERSION: i32 = 1;
const TABLES: [&str; 6] = [
    "api_key_changes",
    "api_key_events",
    "api_key_meta",
    "api_key_pruned",
    "api_key_usage",
    "api_keys",
];

/// The databases for which a warning about newer tables was logged.
static NEWER: LogThrottle<String> = LogThrottle::new();

/// Returns an error if the server is a standby, or if tables are missing, incompatible, hidden or
/// without their triggers. Logs a warning if the tables are newer than this release, as in a
/// rolling deploy.
pub(crate) fn check(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let failed = |source| Error::database(format!("cannot read the tables of {database}"), source);
    if connection.is_standby().map_err(failed)? {
        return Err(hot_standby(database));
    }
    check_tables(database, connection)
}

/// Returns an error if tables are missing, incompatible, hidden or without their triggers.
pub(super) fn check_tables(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let failed = |source| Error::database(format!("cannot read the tables of {database}"), source);
    let existing = connection.existing_tables(&TABLES).map_err(failed)?;
    if let Some(missing) =
        TABLES.into_iter().find(|table| !existing.iter().any(|name| name == table))
    {
        refuse_elsewhere(database, connection, |_| true)?;
        return Err(Error::schema(format!(
            "{database} has no table {missing} (a view or a partitioned table does not count): run \
             `app-key migrate` or your own copy of the migrations, or call AppKeysBuilder::migrate"
        )));
    }
    let Some(SchemaVersion { version, compatible_from }) =
        connection.schema_version().map_err(failed)?
    else {
        return Err(Error::schema(format!(
            "the table api_key_meta of {database} is empty: insert its row again as in the \
             migrations"
        )));
    };
    if version < SCHEMA_VERSION {
        return Err(Error::schema(format!(
            "{database} has tables of version {version}, but this release needs version \
             {SCHEMA_VERSION}: run `app-key migrate`"
        )));
    }
    if compatible_from > SCHEMA_VERSION {
        return Err(Error::schema(format!(
            "{database} has tables of version {version}, which need a release that supports at \
             least version {compatible_from}; this release supports version {SCHEMA_VERSION}: \
             update api-key-runtime"
        )));
    }
    // Every new connection is checked, and a rolling deploy may take hours, so the warning is
    // throttled.
    if version > SCHEMA_VERSION && NEWER.should_log(format!("{version} {database}")) {
        log::warn!(
            "{database} has tables of version {version}, newer than this release supports \
             ({SCHEMA_VERSION}), but marked compatible; update api-key-runtime when the rollout is \
             complete"
        );
    }
    if connection.hides_rows().map_err(failed)? {
        return Err(hidden_rows(database));
    }
    check_triggers(database, connection)
}

/// Returns an error if the tables exist in a schema where the search path does not find them, and
/// `is_refused` returns `true`. Otherwise, a migration could create a second, empty set of tables,
/// and every key would be unknown.
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
            "the tables of {database} are in the schema {schema}, which this role may not use: run \
             GRANT USAGE ON SCHEMA {schema} TO the role"
        )
    } else {
        format!(
            "the tables of {database} are in the schema {schema}, which is not in the search_path: \
             add the schema, for example with ALTER ROLE .. SET search_path. To create a second \
             set of tables in the current schema, run `app-key migrate`"
        )
    }))
}

pub(super) fn hot_standby(database: &Database) -> Error {
    Error::database(
        format!(
            "cannot use {database}: the server is a hot standby, which may lag behind, so a \
             revoked key could keep working"
        ),
        "use the writable primary, or add target_session_attrs=read-write to the URL",
    )
}

/// Returns the error for row-level security that hides rows. Without this error, every key could
/// seem unknown, or a revocation could be missed.
pub(super) fn hidden_rows(database: &Database) -> Error {
    Error::schema(format!(
        "row-level security hides rows of api_keys or api_key_changes of {database} from this \
         role: run `ALTER TABLE .. DISABLE ROW LEVEL SECURITY`, or give the role BYPASSRLS"
    ))
}

/// Returns the error for a pooled connection with an open transaction of the application. Such a
/// connection may read uncommitted or outdated rows.
pub(super) fn open_transaction(database: &Database) -> Error {
    Error::database(
        format!(
            "cannot use a connection of the application's pool to {database}: it is inside a \
             transaction"
        ),
        "a handler returned it to the pool after BEGIN without COMMIT; use Diesel's \
         Connection::transaction in handlers",
    )
}

/// Checks that the triggers are enabled. Without the triggers, changes are not logged, so a cached
/// key would keep working after its revocation.
fn check_triggers(database: &Database, connection: &mut dyn Queries) -> Result<(), Error> {
    let enabled = connection.enabled_triggers().map_err(|source| {
        Error::database(format!("cannot read the triggers of {database}"), source)
    })?;
    require_triggers(database, connection.required_triggers(), &enabled)
}

/// Returns an error if a required trigger is not among the enabled triggers, or if another trigger
/// or rule may keep changes out of the log. On Postgres, each name ends in a colon and the
/// trigger's `tgenabled` letter. So a trigger that is enabled for the wrong sessions counts as
/// missing.
pub(super) fn require_triggers(
    database: &Database,
    wanted: &[&str],
    enabled: &[String],
) -> Result<(), Error> {
    if let Some(foreign) = enabled.iter().find_map(|name| name.strip_prefix("foreign ")) {
        return Err(Error::schema(format!(
            "the table api_key_changes of {database} has an unexpected trigger or rule {foreign}, \
             which may suppress key changes: drop it"
        )));
    }
    let Some(missing) = wanted.iter().find(|trigger| !enabled.iter().any(|name| name == *trigger))
    else {
        return Ok(());
    };
    let name = missing.split(':').next().unwrap_or(missing);
    Err(Error::schema(format!(
        "the trigger {name} of {database} is missing or not enabled as in its migration, so \
         revocations or audit events would be missed: run `app-key migrate` to enable it. If the trigger is \
         missing, create it again as in the migrations"
    )))
}
