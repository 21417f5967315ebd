CREATE TABLE api_keys (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    digest      bytea       NOT NULL,
    digest_algorithm text NOT NULL,
    hint        text        NOT NULL,
    name        text        NOT NULL,
    owner       text,
    -- No default, so that access is always chosen deliberately. An empty list rejects every
    -- address.
    allowed_ips text        NOT NULL,
    scopes      text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    disabled_at timestamptz,
    revoked_at  timestamptz,
    -- The id of the key that replaced this key in a rotation. There is no foreign key, so that the
    -- new key can be deleted.
    replaced_by bigint,

    CONSTRAINT api_keys_pkey
        PRIMARY KEY (id),
    CONSTRAINT api_keys_id_is_positive
        CHECK (id > 0),
    CONSTRAINT api_keys_digest_is_unique
        UNIQUE (digest),
    CONSTRAINT api_keys_digest_is_32_bytes
        CHECK (octet_length(digest) = 32),
    CONSTRAINT api_keys_digest_algorithm_is_sha256_or_hmac
        CHECK (digest_algorithm ~ '^(sha256|hmac-sha256:[0-9a-f]{16})$'),
    CONSTRAINT api_keys_hint_is_short_ascii
        CHECK (hint ~ '^[ -~]{0,40}$'),
    CONSTRAINT api_keys_name_is_1_to_200_characters
        CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT api_keys_owner_is_1_to_200_characters
        CHECK (char_length(owner) BETWEEN 1 AND 200),
    CONSTRAINT api_keys_allowed_ips_is_short_ascii
        CHECK (allowed_ips ~ '^[ -~]*$' AND char_length(allowed_ips) <= 4000),
    -- The scope tokens of RFC 6749, without `,` and `*`, which users would expect to be a separator
    -- and a wildcard. chr(92) is a backslash under every setting of standard_conforming_strings.
    CONSTRAINT api_keys_scopes_are_scope_tokens
        CHECK (scopes ~ '^([!#-)+.-~-]+( [!#-)+.-~-]+)*)?$' AND strpos(scopes, chr(92)) = 0),
    CONSTRAINT api_keys_scopes_are_at_most_4000_characters
        CHECK (char_length(scopes) <= 4000),
    -- These bounds exclude 'infinity' and years that other programs cannot represent.
    CONSTRAINT api_keys_created_at_is_a_utc_time
        CHECK (created_at BETWEEN '1900-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'),
    CONSTRAINT api_keys_expires_at_is_a_utc_time
        CHECK (expires_at BETWEEN '1900-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'),
    CONSTRAINT api_keys_disabled_at_is_a_utc_time
        CHECK (disabled_at BETWEEN '1900-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'),
    CONSTRAINT api_keys_revoked_at_is_a_utc_time
        CHECK (revoked_at BETWEEN '1900-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00')
);

-- A separate table, so that recording usage neither waits for nor delays an update of the key.
CREATE TABLE api_key_usage (
    key_id       bigint      NOT NULL,
    last_used_at timestamptz NOT NULL,
    last_used_ip text,
    use_count    bigint      NOT NULL DEFAULT 0,

    CONSTRAINT api_key_usage_pkey
        PRIMARY KEY (key_id),
    CONSTRAINT api_key_usage_key_exists
        FOREIGN KEY (key_id) REFERENCES api_keys (id) ON DELETE CASCADE,
    CONSTRAINT api_key_usage_last_used_at_is_a_utc_time
        CHECK (last_used_at BETWEEN '1900-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'),
    CONSTRAINT api_key_usage_last_used_ip_is_short_ascii
        CHECK (last_used_ip ~ '^[!-~]{1,45}$'),
    CONSTRAINT api_key_usage_use_count_is_not_negative
        CHECK (use_count >= 0)
);

CREATE TABLE api_key_meta (
    id              integer NOT NULL,
    schema_version  integer NOT NULL,
    compatible_from integer NOT NULL,
    -- Null until the first service starts or the first key is issued or imported.
    digest_algorithm      text,

    CONSTRAINT api_key_meta_pkey
        PRIMARY KEY (id),
    CONSTRAINT api_key_meta_has_one_row
        CHECK (id = 1),
    CONSTRAINT api_key_meta_versions_are_in_order
        CHECK (compatible_from BETWEEN 1 AND schema_version),
    CONSTRAINT api_key_meta_digest_algorithm_is_sha256_or_hmac
        CHECK (digest_algorithm ~ '^(sha256|hmac-sha256:[0-9a-f]{16})$')
);

INSERT INTO api_key_meta (id, schema_version, compatible_from) VALUES (1, 1, 1);
