-- Time columns have the type TIMESTAMP, because `diesel print-schema` fails on a column declared
-- TIMESTAMPTZ. All times are UTC texts in one of two forms. Diesel's TimestamptzSqlite writes
-- 2026-11-23 20:00:00.123456+00:00, and SQLite's CURRENT_TIMESTAMP returns 2026-11-23 20:00:00.
-- Other time zones or forms would compare wrongly or be read as another time. With a modifier,
-- SQLite turns February 30th into March 2nd. So each constraint adds no days and compares the
-- result with the input.
CREATE TABLE api_keys (
    id          INTEGER   NOT NULL PRIMARY KEY AUTOINCREMENT,
    digest      BLOB      NOT NULL,
    digest_algorithm TEXT NOT NULL,
    hint        TEXT      NOT NULL,
    name        TEXT      NOT NULL,
    owner       TEXT,
    -- No default, so that access is always chosen deliberately. An empty list rejects every
    -- address.
    allowed_ips TEXT      NOT NULL,
    scopes      TEXT      NOT NULL DEFAULT '',
    created_at  TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),
    expires_at  TIMESTAMP,
    disabled_at TIMESTAMP,
    revoked_at  TIMESTAMP,
    -- The id of the key that replaced this key in a rotation. There is no foreign key, so that the
    -- new key can be deleted.
    replaced_by BIGINT,

    CONSTRAINT api_keys_id_is_positive
        CHECK (id > 0),
    CONSTRAINT api_keys_digest_is_unique
        UNIQUE (digest),
    CONSTRAINT api_keys_digest_is_32_bytes
        CHECK (typeof(digest) = 'blob' AND length(digest) = 32),
    CONSTRAINT api_keys_digest_algorithm_is_sha256_or_hmac
        CHECK (typeof(digest_algorithm) = 'text'
            AND instr(digest_algorithm, char(0)) = 0
            AND (digest_algorithm = 'sha256'
                OR length(digest_algorithm) = 28
                AND substr(digest_algorithm, 1, 12) = 'hmac-sha256:'
                AND substr(digest_algorithm, 13) NOT GLOB '*[^0-9a-f]*')),
    CONSTRAINT api_keys_hint_is_short_ascii
        CHECK (typeof(hint) = 'text'
            AND length(hint) <= 40
            AND hint NOT GLOB '*[^ -~]*'
            AND instr(hint, char(0)) = 0),
    CONSTRAINT api_keys_name_is_1_to_200_characters
        CHECK (typeof(name) = 'text'
            AND length(name) BETWEEN 1 AND 200
            AND instr(name, char(0)) = 0),
    CONSTRAINT api_keys_owner_is_1_to_200_characters
        CHECK (owner IS NULL OR typeof(owner) = 'text'
            AND length(owner) BETWEEN 1 AND 200
            AND instr(owner, char(0)) = 0),
    CONSTRAINT api_keys_allowed_ips_is_short_ascii
        CHECK (typeof(allowed_ips) = 'text'
            AND length(allowed_ips) <= 4000
            AND allowed_ips NOT GLOB '*[^ -~]*'
            AND instr(allowed_ips, char(0)) = 0),
    -- The scope tokens of RFC 6749, without `,` and `*`, which users would expect to be a separator
    -- and a wildcard.
    CONSTRAINT api_keys_scopes_are_scope_tokens
        CHECK (typeof(scopes) = 'text'
            AND scopes NOT GLOB '*[^ -~]*'
            AND scopes NOT GLOB '*[,*]*'
            AND instr(scopes, char(0)) = 0
            AND instr(scopes, '"') = 0
            AND instr(scopes, '\') = 0
            AND instr(scopes, '  ') = 0
            AND trim(scopes) = scopes),
    CONSTRAINT api_keys_scopes_are_at_most_4000_characters
        CHECK (length(scopes) <= 4000),
    CONSTRAINT api_keys_created_at_is_a_utc_time
        CHECK (typeof(created_at) = 'text'
            AND created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]*+00:00'
            AND instr(created_at, char(0)) = 0
            AND (length(created_at) = 25
                OR length(created_at) BETWEEN 27 AND 35
                AND rtrim(substr(created_at, 20, length(created_at) - 25), '0123456789') = '.')
            AND substr(created_at, 1, 4) >= '1900'
            AND datetime(substr(created_at, 1, 19), '+0 days') IS substr(created_at, 1, 19)
            OR typeof(created_at) = 'text'
            AND created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]'
            AND instr(created_at, char(0)) = 0
            AND substr(created_at, 1, 4) >= '1900'
            AND datetime(created_at, '+0 days') IS created_at),
    CONSTRAINT api_keys_expires_at_is_a_utc_time
        CHECK (expires_at IS NULL OR typeof(expires_at) = 'text'
            AND expires_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]*+00:00'
            AND instr(expires_at, char(0)) = 0
            AND (length(expires_at) = 25
                OR length(expires_at) BETWEEN 27 AND 35
                AND rtrim(substr(expires_at, 20, length(expires_at) - 25), '0123456789') = '.')
            AND substr(expires_at, 1, 4) >= '1900'
            AND datetime(substr(expires_at, 1, 19), '+0 days') IS substr(expires_at, 1, 19)
            OR typeof(expires_at) = 'text'
            AND expires_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]'
            AND instr(expires_at, char(0)) = 0
            AND substr(expires_at, 1, 4) >= '1900'
            AND datetime(expires_at, '+0 days') IS expires_at),
    CONSTRAINT api_keys_disabled_at_is_a_utc_time
        CHECK (disabled_at IS NULL OR typeof(disabled_at) = 'text'
            AND disabled_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]*+00:00'
            AND instr(disabled_at, char(0)) = 0
            AND (length(disabled_at) = 25
                OR length(disabled_at) BETWEEN 27 AND 35
                AND rtrim(substr(disabled_at, 20, length(disabled_at) - 25), '0123456789') = '.')
            AND substr(disabled_at, 1, 4) >= '1900'
            AND datetime(substr(disabled_at, 1, 19), '+0 days') IS substr(disabled_at, 1, 19)
            OR typeof(disabled_at) = 'text'
            AND disabled_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]'
            AND instr(disabled_at, char(0)) = 0
            AND substr(disabled_at, 1, 4) >= '1900'
            AND datetime(disabled_at, '+0 days') IS disabled_at),
    CONSTRAINT api_keys_revoked_at_is_a_utc_time
        CHECK (revoked_at IS NULL OR typeof(revoked_at) = 'text'
            AND revoked_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]*+00:00'
            AND instr(revoked_at, char(0)) = 0
            AND (length(revoked_at) = 25
                OR length(revoked_at) BETWEEN 27 AND 35
                AND rtrim(substr(revoked_at, 20, length(revoked_at) - 25), '0123456789') = '.')
            AND substr(revoked_at, 1, 4) >= '1900'
            AND datetime(substr(revoked_at, 1, 19), '+0 days') IS substr(revoked_at, 1, 19)
            OR typeof(revoked_at) = 'text'
            AND revoked_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]'
            AND instr(revoked_at, char(0)) = 0
            AND substr(revoked_at, 1, 4) >= '1900'
            AND datetime(revoked_at, '+0 days') IS revoked_at)
);

-- A separate table, so that recording usage is never logged as a change of the key.
CREATE TABLE api_key_usage (
    key_id       INTEGER   NOT NULL PRIMARY KEY,
    last_used_at TIMESTAMP NOT NULL,
    last_used_ip TEXT,
    use_count    BIGINT    NOT NULL DEFAULT 0,

    CONSTRAINT api_key_usage_key_exists
        FOREIGN KEY (key_id) REFERENCES api_keys (id) ON DELETE CASCADE,
    CONSTRAINT api_key_usage_last_used_at_is_a_utc_time
        CHECK (typeof(last_used_at) = 'text'
            AND last_used_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]*+00:00'
            AND instr(last_used_at, char(0)) = 0
            AND (length(last_used_at) = 25
                OR length(last_used_at) BETWEEN 27 AND 35
                AND rtrim(substr(last_used_at, 20, length(last_used_at) - 25), '0123456789') = '.')
            AND substr(last_used_at, 1, 4) >= '1900'
            AND datetime(substr(last_used_at, 1, 19), '+0 days') IS substr(last_used_at, 1, 19)
            OR typeof(last_used_at) = 'text'
            AND last_used_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]'
            AND instr(last_used_at, char(0)) = 0
            AND substr(last_used_at, 1, 4) >= '1900'
            AND datetime(last_used_at, '+0 days') IS last_used_at),
    CONSTRAINT api_key_usage_last_used_ip_is_short_ascii
        CHECK (last_used_ip IS NULL OR typeof(last_used_ip) = 'text'
            AND length(last_used_ip) BETWEEN 1 AND 45
            AND last_used_ip NOT GLOB '*[^!-~]*'
            AND instr(last_used_ip, char(0)) = 0),
    CONSTRAINT api_key_usage_use_count_is_not_negative
        CHECK (typeof(use_count) = 'integer' AND use_count >= 0)
);

CREATE TABLE api_key_meta (
    id              INTEGER NOT NULL PRIMARY KEY,
    schema_version  INTEGER NOT NULL,
    compatible_from INTEGER NOT NULL,
    -- Null until the first service starts or the first key is issued or imported.
    digest_algorithm      TEXT,

    CONSTRAINT api_key_meta_has_one_row
        CHECK (id = 1),
    CONSTRAINT api_key_meta_versions_are_in_order
        CHECK (typeof(schema_version) = 'integer'
            AND typeof(compatible_from) = 'integer'
            AND schema_version <= 2147483647
            AND compatible_from BETWEEN 1 AND schema_version),
    CONSTRAINT api_key_meta_digest_algorithm_is_sha256_or_hmac
        CHECK (digest_algorithm IS NULL OR typeof(digest_algorithm) = 'text'
            AND instr(digest_algorithm, char(0)) = 0
            AND (digest_algorithm = 'sha256'
                OR length(digest_algorithm) = 28
                AND substr(digest_algorithm, 1, 12) = 'hmac-sha256:'
                AND substr(digest_algorithm, 13) NOT GLOB '*[^0-9a-f]*'))
);

INSERT INTO api_key_meta (id, schema_version, compatible_from) VALUES (1, 1, 1);
