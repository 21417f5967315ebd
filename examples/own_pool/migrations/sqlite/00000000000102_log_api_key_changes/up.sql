-- The log of changed keys. This crate does not delete old rows. If you delete rows, keep the newest
-- row.
CREATE TABLE api_key_changes (
    seq        INTEGER   NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- Distinguishes a restored backup, which assigns the same numbers again, from the original.
    token      BLOB      NOT NULL DEFAULT (randomblob(16)),
    -- Null means every key.
    digest     BLOB,
    created_at TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),

    CONSTRAINT api_key_changes_digest_is_32_bytes
        CHECK (digest IS NULL OR typeof(digest) = 'blob' AND length(digest) = 32)
);

-- Passes ids from the BEFORE INSERT trigger to the AFTER INSERT trigger. The AFTER trigger does not
-- run if the insert ends in DO NOTHING or DO UPDATE. Between statements, the rows have no meaning.
CREATE TABLE api_key_conflicts (
    revoked_key_id INTEGER NOT NULL PRIMARY KEY
);

CREATE TRIGGER api_keys_log_insert
AFTER INSERT ON api_keys
BEGIN
    INSERT INTO api_key_changes (digest) VALUES (NEW.digest);
END;

CREATE TRIGGER api_keys_log_update
AFTER UPDATE ON api_keys
BEGIN
    INSERT INTO api_key_changes (digest) VALUES (NEW.digest);
    INSERT INTO api_key_changes (digest) SELECT OLD.digest WHERE OLD.digest IS NOT NEW.digest;
END;

CREATE TRIGGER api_keys_log_delete
AFTER DELETE ON api_keys
BEGIN
    INSERT INTO api_key_changes (digest) VALUES (OLD.digest);
END;

-- REPLACE deletes conflicting rows without firing delete triggers, unless the connection has set
-- recursive_triggers. The next three triggers detect such rows regardless of this setting.
CREATE TRIGGER api_keys_before_insert
BEFORE INSERT ON api_keys
BEGIN
    DELETE FROM api_key_conflicts;
    INSERT INTO api_key_conflicts (revoked_key_id)
        SELECT id FROM api_keys
         WHERE revoked_at IS NOT NULL AND (id = NEW.id OR digest = NEW.digest);
    INSERT INTO api_key_changes (digest)
        SELECT digest FROM api_keys WHERE id = NEW.id AND digest IS NOT NEW.digest;
END;

CREATE TRIGGER api_keys_revoked_is_not_replaced
AFTER INSERT ON api_keys
BEGIN
    SELECT RAISE(ABORT, 'This would overwrite a revoked API key, and revocation is final. Issue a new key instead.')
      FROM api_key_conflicts;
END;

CREATE TRIGGER api_keys_before_update
BEFORE UPDATE ON api_keys
WHEN NEW.id IS NOT OLD.id OR NEW.digest IS NOT OLD.digest
BEGIN
    SELECT RAISE(ABORT, 'This would overwrite a revoked API key, and revocation is final. Issue a new key instead.')
      FROM api_keys
     WHERE id <> OLD.id AND revoked_at IS NOT NULL AND (id = NEW.id OR digest = NEW.digest);
    INSERT INTO api_key_changes (digest)
        SELECT digest FROM api_keys WHERE id = NEW.id AND id <> OLD.id;
END;

CREATE TRIGGER api_keys_revocation_is_final
BEFORE UPDATE ON api_keys
WHEN OLD.revoked_at IS NOT NULL
    AND (NEW.revoked_at IS NOT OLD.revoked_at
        OR NEW.digest IS NOT OLD.digest
        OR NEW.id IS NOT OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'This API key is revoked, and revocation is final: revoked_at, digest and id cannot change any more. Issue a new key instead.');
END;
