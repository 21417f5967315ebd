//! The tables that queries use, in the form that `diesel print-schema` prints. The tables of the
//! change log, of the audit log and of pruned keys are left out.
//!
//! Semantic versioning does not cover this module: it follows the columns, and any release may add
//! a migration.
#![allow(missing_docs, reason = "the columns are described by `KeyRecord` and the migrations")]

diesel::table! {
    api_key_meta (id) {
        id -> Int4,
        schema_version -> Int4,
        compatible_from -> Int4,
        digest_algorithm -> Nullable<Text>,
        prune_xmin -> Nullable<Int8>,
        prune_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    api_key_usage (key_id) {
        key_id -> Int8,
        last_used_at -> Timestamptz,
        last_used_ip -> Nullable<Text>,
        use_count -> Int8,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Int8,
        digest -> Bytea,
        digest_algorithm -> Text,
        hint -> Text,
        name -> Text,
        owner -> Nullable<Text>,
        allowed_ips -> Text,
        scopes -> Text,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        disabled_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        replaced_by -> Nullable<Int8>,
    }
}

diesel::joinable!(api_key_usage -> api_keys (key_id));

diesel::allow_tables_to_appear_in_same_query!(api_key_meta, api_key_usage, api_keys);
