//! The temporary table of an import on Postgres.

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
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
    }
}

pub(super) const STAGING: &str = "pg_temp.app_key_import";

pub(super) const CREATE: &str = "\
    DROP TABLE IF EXISTS pg_temp.app_key_import; \
    CREATE TEMPORARY TABLE app_key_import ( \
        seq bigint GENERATED ALWAYS AS IDENTITY, source_row bigint NOT NULL, previous_digest bytea, \
        digest bytea NOT NULL, digest_algorithm text NOT NULL, hint text NOT NULL, name text NOT NULL, owner text, \
        allowed_ips text NOT NULL, scopes text NOT NULL, created_at timestamptz NOT NULL, expires_at timestamptz \
    ) ON COMMIT DROP";

/// Without statistics, Postgres would look up each key separately.
pub(super) const ANALYZE: &str = "ANALYZE pg_temp.app_key_import";

pub(super) const DROP: &str = "DROP TABLE pg_temp.app_key_import";

/// Another import may store the same keys concurrently.
pub(super) const ON_CONFLICT: &str = " ON CONFLICT (digest) DO NOTHING";
