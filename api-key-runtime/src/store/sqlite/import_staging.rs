//! The temporary table of an import on SQLite.

diesel::table! {
    app_key_import (seq) {
        seq -> BigInt,
        source_row -> BigInt,
        previous_digest -> Nullable<Binary>,
        digest -> Binary,
        digest_algorithm -> Text,
        hint -> Text,
        name -> Text,
        owner -> Nullable<Text>,
        allowed_ips -> Text,
        scopes -> Text,
        created_at -> TimestamptzSqlite,
        expires_at -> Nullable<TimestamptzSqlite>,
    }
}

pub(super) const STAGING: &str = "temp.app_key_import";

/// First drops a table of the same name, because the connection may come from the application's
/// pool.
pub(super) const CREATE: &str = "\
    DROP TABLE IF EXISTS temp.app_key_import; \
    CREATE TEMPORARY TABLE app_key_import ( \
        seq INTEGER PRIMARY KEY, source_row BIGINT NOT NULL, previous_digest BLOB, \
        digest BLOB NOT NULL, digest_algorithm TEXT NOT NULL, hint TEXT NOT NULL, name TEXT NOT NULL, owner TEXT, \
        allowed_ips TEXT NOT NULL, scopes TEXT NOT NULL, created_at TIMESTAMP NOT NULL, expires_at TIMESTAMP)";

/// SQLite looks up each key in an index, which needs no statistics.
pub(super) const ANALYZE: &str = "";

pub(super) const DROP: &str = "DROP TABLE temp.app_key_import";

/// The transaction locks the file, so no other import can store the same keys.
pub(super) const ON_CONFLICT: &str = "";
