//! The identity of the server. Keys and their changes must be read from the same server, or
//! revocations are missed.

use diesel::{QueryResult, RunQueryDsl as _, dsl::sql, sql_types::BigInt};

use super::Connection;

/// A hash of the server's start time, the database, and the tables that the search path finds. The
/// id of the database is the name of the folder with the table's file. The function
/// `api_keys_changes_since_v1` computes the same hash.
macro_rules! server_number {
    () => {
        "pg_catalog.hashtextextended(pg_catalog.concat_ws('/', \
                   (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000)::bigint, \
                   pg_catalog.substring(pg_catalog.pg_relation_filepath(pg_catalog.to_regclass('api_keys')), '([0-9]+)/[0-9]+$'), \
                   pg_catalog.to_regclass('api_keys')::oid, pg_catalog.to_regclass('api_key_changes')::oid), 0::bigint)"
    };
}

/// The number of this server. If this connection must not be used for keys, the value is the reason
/// instead. The expression is evaluated once per statement.
///
/// `standby`: the server may lag behind. `hidden`: row-level security hides keys from the role.
pub(super) const PRIMARY: &str = concat!(
    "(SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' \
                  WHEN pg_catalog.row_security_active(pg_catalog.to_regclass('api_keys')) THEN 'hidden' \
                  ELSE ",
    server_number!(),
    "::text END)"
);

/// Returns the [`server_number!`] of a connection.
pub(super) fn server(connection: &mut Connection) -> QueryResult<i64> {
    diesel::select(sql::<BigInt>(server_number!())).get_result(connection)
}
