//! Which server answers: keys and their changes must be read in the same one, or revocations go
//! unnoticed.

use diesel::{QueryResult, RunQueryDsl as _, dsl::sql, sql_types::BigInt};

use super::Connection;

/// Which start of which server this is, which database, and which tables the names stand for: a
/// number, so that it costs little to send.
macro_rules! server_number {
    () => {
        "pg_catalog.hashtextextended(pg_catalog.concat_ws('/', \
                   (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::bigint, \
                   (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()), \
                   pg_catalog.to_regclass('api_keys')::oid, pg_catalog.to_regclass('api_key_changes')::oid), 0::bigint)"
    };
}

/// The number of this server, or the word for why this connection must not be used for keys; worked
/// out once a statement.
///
/// A standby may be behind. Row-level security hides keys from the role.
pub(super) const PRIMARY: &str = concat!(
    "(SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' \
                  WHEN pg_catalog.row_security_active(pg_catalog.to_regclass('api_keys')) THEN 'hidden' \
                  ELSE ",
    server_number!(),
    "::text END)"
);

/// See [`server_number!`].
pub(super) fn server(connection: &mut Connection) -> QueryResult<i64> {
    diesel::select(sql::<BigInt>(server_number!())).get_result(connection)
}
