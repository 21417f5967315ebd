//! The identity of the server. Keys and their changes must be read from the same server, or
//! revocations are missed.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use diesel::{QueryResult, RunQueryDsl as _, dsl::sql, result::Error, sql_types::Text};

use super::Connection;

/// The identity of the server: its start time, the file of the key table, and the tables that the
/// search path finds. The file's path contains the id of the database. The function
/// `api_keys_changes_since_v1` returns the same text, so a release must not change this text.
///
/// Postgres parses and plans this expression for every lookup. An expression that hashes these
/// values doubles the server's time for one key. If the search path finds no `api_key_changes`, the
/// lookup fails, and the change feed logs what to do.
macro_rules! identity {
    () => {
        "pg_catalog.encode(pg_catalog.timestamptz_send(pg_catalog.pg_postmaster_start_time()), 'hex'), \
         pg_catalog.pg_relation_filepath('api_keys'::pg_catalog.regclass), \
         'api_keys'::pg_catalog.regclass::pg_catalog.oid, \
         'api_key_changes'::pg_catalog.regclass::pg_catalog.oid"
    };
}

/// Whether the server is a standby, which may lag behind, whether row-level security hides keys
/// from the role, and the identity of the server. The expression is evaluated once per statement.
pub(super) const PRIMARY: &str = concat!(
    "(SELECT pg_catalog.concat_ws('/', pg_catalog.pg_is_in_recovery(), \
             pg_catalog.row_security_active('api_keys'::pg_catalog.regclass), ",
    identity!(),
    "))"
);

/// Returns the number of the server with this identity, or `None` if the text is not an identity.
/// The key table has no file if it is a view or a partitioned table.
///
/// The only part of the file's path that counts is the folder's name, which is the id of the
/// database. `VACUUM FULL` changes the file's name, and another tablespace changes the folder's
/// path.
pub(super) fn server_number(identity: &str) -> Option<i64> {
    let (started_at, identity) = identity.split_once('/')?;
    let mut parts = identity.rsplit('/').map(|part| part.parse::<u32>().ok());
    let [changes, keys, _file, database] = std::array::from_fn(|_| parts.next().flatten());
    let identity = (u64::from_str_radix(started_at, 16).ok()?, database?, keys?, changes?);
    Some(BuildHasherDefault::<DefaultHasher>::default().hash_one(identity).cast_signed())
}

/// Returns the number of the server of a connection.
pub(super) fn server(connection: &mut Connection) -> QueryResult<i64> {
    let identity = concat!("pg_catalog.concat_ws('/', ", identity!(), ")");
    let identity: String = diesel::select(sql::<Text>(identity)).get_result(connection)?;
    server_number(&identity).ok_or_else(|| {
        Error::DeserializationError(format!("{identity:?} does not identify a server").into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // E7
    #[test]
    fn the_number_depends_on_the_server_the_database_and_the_tables() {
        let number = |identity| server_number(identity).unwrap();
        let ours = number("0002f1b8a1c3d4e5/base/16384/16385/16390/16399");
        for same in [
            // After `VACUUM FULL`, and after `SET TABLESPACE`.
            "0002f1b8a1c3d4e5/base/16384/99999/16390/16399",
            "0002f1b8a1c3d4e5/pg_tblspc/5/PG_15_202209061/16384/16385/16390/16399",
        ] {
            assert_eq!(number(same), ours, "{same}");
        }
        for other in [
            "0002f1b8a1c3d4e6/base/16384/16385/16390/16399",
            "0002f1b8a1c3d4e5/base/16386/16385/16390/16399",
            "0002f1b8a1c3d4e5/base/16384/16385/16391/16399",
            "0002f1b8a1c3d4e5/base/16384/16385/16390/16398",
        ] {
            assert_ne!(number(other), ours, "{other}");
        }
        for invalid in [
            "",
            "///",
            // A view has no file.
            "0002f1b8a1c3d4e5/16390/16399",
            "yesterday/base/16384/16385/16390/16399",
            "0002f1b8a1c3d4e5/base/16384/16385/16390/api_key_changes",
        ] {
            assert_eq!(server_number(invalid), None, "{invalid}");
        }
    }
}
