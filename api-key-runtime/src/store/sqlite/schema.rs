//! The tables that queries use, in the form that `diesel print-schema` prints with
//! `sqlite_integer_primary_key_is_bigint`. The tables of the change log, of the audit log and of
//! pruned keys are left out. The types of time columns are changed, because `diesel` cannot detect
//! that the times include a time zone.
//!
//! Semantic versioning does not cover this module: it follows the columns, and any release may add
//! a migration.
#![allow(missing_docs, reason = "the columns are described by `KeyRecord` and the migrations")]

diesel::table! {
    api_key_meta (id) {
        id -> BigInt,
        schema_version -> Integer,
        compatible_from -> Integer,
        digest_algorithm -> Nullable<Text>,
    }
}

diesel::table! {
    api_key_usage (key_id) {
        key_id -> BigInt,
        last_used_at -> TimestamptzSqlite,
        last_used_ip -> Nullable<Text>,
        use_count -> BigInt,
    }
}

diesel::table! {
    api_keys (id) {
        id -> BigInt,
        digest -> Binary,
        digest_algorithm -> Text,
        hint -> Text,
        name -> Text,
        owner -> Nullable<Text>,
        allowed_ips -> Text,
        scopes -> Text,
        created_at -> TimestamptzSqlite,
        expires_at -> Nullable<TimestamptzSqlite>,
        disabled_at -> Nullable<TimestamptzSqlite>,
        revoked_at -> Nullable<TimestamptzSqlite>,
        replaced_by -> Nullable<BigInt>,
    }
}

diesel::joinable!(api_key_usage -> api_keys (key_id));

diesel::allow_tables_to_appear_in_same_query!(api_key_meta, api_key_usage, api_keys);
