-- The audit log, as on Postgres. SQLite has no roles and no statement triggers. So an SQL statement
-- that changes many keys writes one event for each key.
CREATE TABLE api_key_events (
    id          BLOB      NOT NULL PRIMARY KEY DEFAULT (randomblob(16)),
    happened_at TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),
    action      TEXT      NOT NULL,
    -- A summary of several keys stores their lowest and highest id.
    key_id      BIGINT    NOT NULL,
    last_key_id BIGINT    NOT NULL,
    key_count   BIGINT    NOT NULL DEFAULT 1,
    -- The fields that changed, as JSON. Neither a digest nor a key is ever recorded.
    before      TEXT,
    after       TEXT,
    role        TEXT,
    actor       TEXT,

    CONSTRAINT api_key_events_ids_are_in_order
        CHECK (key_id <= last_key_id),
    CONSTRAINT api_key_events_key_count_is_not_negative
        CHECK (key_count >= 0)
);

CREATE INDEX api_key_events_key_id ON api_key_events (key_id);
CREATE INDEX api_key_events_happened_at ON api_key_events (happened_at);
CREATE INDEX api_key_events_summaries ON api_key_events (last_key_id) WHERE key_count <> 1;

-- Keys that were deleted by pruning. An import or a restored row must not make them valid again.
CREATE TABLE api_key_pruned (
    id        BLOB      NOT NULL PRIMARY KEY DEFAULT (randomblob(16)),
    key_id    BIGINT    NOT NULL,
    digest    BLOB      NOT NULL,
    pruned_at TIMESTAMP NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),

    CONSTRAINT api_key_pruned_digest_is_32_bytes
        CHECK (typeof(digest) = 'blob' AND length(digest) = 32)
);

CREATE INDEX api_key_pruned_key_id ON api_key_pruned (key_id);
CREATE INDEX api_key_pruned_digest ON api_key_pruned (digest);

-- Passes the actor of a change to the triggers below. A program inserts the row and deletes it
-- again in the same transaction, so the table is empty outside a transaction.
CREATE TABLE api_key_session (
    id      INTEGER NOT NULL PRIMARY KEY,
    actor   TEXT,
    -- An import or a prune writes one event for all keys. The column `event` is the id of that
    -- event.
    summary TEXT,
    event   BLOB    NOT NULL DEFAULT (randomblob(16)),

    CONSTRAINT api_key_session_has_one_row
        CHECK (id = 1),
    CONSTRAINT api_key_session_summary_is_imported_or_pruned
        CHECK (summary IN ('imported', 'pruned'))
);

CREATE TRIGGER api_keys_record_insert
AFTER INSERT ON api_keys
BEGIN
    INSERT INTO api_key_events (id, action, key_id, last_key_id, before, after, actor)
    SELECT coalesce(session.event, randomblob(16)),
        coalesce(session.summary, 'issued'),
        NEW.id, NEW.id,
        NULL,
        CASE WHEN session.summary IS NULL THEN json_remove(
            json_object(
                'digest_algorithm', NEW.digest_algorithm,
                'hint', NEW.hint,
                'name', NEW.name,
                'owner', NEW.owner,
                'allowed_ips', NEW.allowed_ips,
                'scopes', NEW.scopes,
                'created_at', replace(replace(NEW.created_at, ' ', 'T'), '+00:00', '') || 'Z',
                'expires_at', replace(replace(NEW.expires_at, ' ', 'T'), '+00:00', '') || 'Z',
                'disabled_at', replace(replace(NEW.disabled_at, ' ', 'T'), '+00:00', '') || 'Z',
                'revoked_at', replace(replace(NEW.revoked_at, ' ', 'T'), '+00:00', '') || 'Z',
                'replaced_by', NEW.replaced_by),
            CASE WHEN NEW.owner IS NULL THEN '$.owner' ELSE '$.none' END,
            CASE WHEN NEW.expires_at IS NULL THEN '$.expires_at' ELSE '$.none' END,
            CASE WHEN NEW.disabled_at IS NULL THEN '$.disabled_at' ELSE '$.none' END,
            CASE WHEN NEW.revoked_at IS NULL THEN '$.revoked_at' ELSE '$.none' END,
            CASE WHEN NEW.replaced_by IS NULL THEN '$.replaced_by' ELSE '$.none' END) END,
        (SELECT actor FROM api_key_session)
      FROM (SELECT 1) LEFT JOIN api_key_session AS session ON session.summary = 'imported'
     WHERE true
    ON CONFLICT (id) DO UPDATE SET
        key_id = min(key_id, excluded.key_id),
        last_key_id = max(last_key_id, excluded.last_key_id),
        key_count = key_count + 1;
END;

CREATE TRIGGER api_keys_record_update
AFTER UPDATE ON api_keys
WHEN NEW.id IS NOT OLD.id
        OR NEW.digest IS NOT OLD.digest
        OR NEW.digest_algorithm IS NOT OLD.digest_algorithm
        OR NEW.hint IS NOT OLD.hint
        OR NEW.name IS NOT OLD.name
        OR NEW.owner IS NOT OLD.owner
        OR NEW.allowed_ips IS NOT OLD.allowed_ips
        OR NEW.scopes IS NOT OLD.scopes
        OR NEW.created_at IS NOT OLD.created_at
        OR NEW.expires_at IS NOT OLD.expires_at
        OR NEW.disabled_at IS NOT OLD.disabled_at
        OR NEW.revoked_at IS NOT OLD.revoked_at
        OR NEW.replaced_by IS NOT OLD.replaced_by
BEGIN
    INSERT INTO api_key_events (id, action, key_id, last_key_id, before, after, actor)
    SELECT randomblob(16),
        CASE
            WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL THEN 'revoked'
            WHEN OLD.replaced_by IS NULL AND NEW.replaced_by IS NOT NULL THEN 'rotated'
            WHEN OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL THEN 'disabled'
            WHEN OLD.disabled_at IS NOT NULL AND NEW.disabled_at IS NULL THEN 'enabled'
            ELSE 'updated' END,
        NEW.id, NEW.id,
        json_remove(
            json_object(
                'digest_algorithm', OLD.digest_algorithm,
                'hint', OLD.hint,
                'name', OLD.name,
                'owner', OLD.owner,
                'allowed_ips', OLD.allowed_ips,
                'scopes', OLD.scopes,
                'created_at', replace(replace(OLD.created_at, ' ', 'T'), '+00:00', '') || 'Z',
                'expires_at', replace(replace(OLD.expires_at, ' ', 'T'), '+00:00', '') || 'Z',
                'disabled_at', replace(replace(OLD.disabled_at, ' ', 'T'), '+00:00', '') || 'Z',
                'revoked_at', replace(replace(OLD.revoked_at, ' ', 'T'), '+00:00', '') || 'Z',
                'replaced_by', OLD.replaced_by,
                'id', OLD.id,
                'digest', '(not recorded)'),
            CASE WHEN OLD.digest_algorithm IS NEW.digest_algorithm THEN '$.digest_algorithm' ELSE '$.none' END,
            CASE WHEN OLD.hint IS NEW.hint THEN '$.hint' ELSE '$.none' END,
            CASE WHEN OLD.name IS NEW.name THEN '$.name' ELSE '$.none' END,
            CASE WHEN OLD.owner IS NEW.owner THEN '$.owner' ELSE '$.none' END,
            CASE WHEN OLD.allowed_ips IS NEW.allowed_ips THEN '$.allowed_ips' ELSE '$.none' END,
            CASE WHEN OLD.scopes IS NEW.scopes THEN '$.scopes' ELSE '$.none' END,
            CASE WHEN OLD.created_at IS NEW.created_at THEN '$.created_at' ELSE '$.none' END,
            CASE WHEN OLD.expires_at IS NEW.expires_at THEN '$.expires_at' ELSE '$.none' END,
            CASE WHEN OLD.disabled_at IS NEW.disabled_at THEN '$.disabled_at' ELSE '$.none' END,
            CASE WHEN OLD.revoked_at IS NEW.revoked_at THEN '$.revoked_at' ELSE '$.none' END,
            CASE WHEN OLD.replaced_by IS NEW.replaced_by THEN '$.replaced_by' ELSE '$.none' END,
            CASE WHEN OLD.id IS NEW.id THEN '$.id' ELSE '$.none' END,
            CASE WHEN OLD.digest IS NEW.digest THEN '$.digest' ELSE '$.none' END),
        json_remove(
            json_object(
                'digest_algorithm', NEW.digest_algorithm,
                'hint', NEW.hint,
                'name', NEW.name,
                'owner', NEW.owner,
                'allowed_ips', NEW.allowed_ips,
                'scopes', NEW.scopes,
                'created_at', replace(replace(NEW.created_at, ' ', 'T'), '+00:00', '') || 'Z',
                'expires_at', replace(replace(NEW.expires_at, ' ', 'T'), '+00:00', '') || 'Z',
                'disabled_at', replace(replace(NEW.disabled_at, ' ', 'T'), '+00:00', '') || 'Z',
                'revoked_at', replace(replace(NEW.revoked_at, ' ', 'T'), '+00:00', '') || 'Z',
                'replaced_by', NEW.replaced_by,
                'id', NEW.id,
                'digest', '(not recorded)'),
            CASE WHEN OLD.digest_algorithm IS NEW.digest_algorithm THEN '$.digest_algorithm' ELSE '$.none' END,
            CASE WHEN OLD.hint IS NEW.hint THEN '$.hint' ELSE '$.none' END,
            CASE WHEN OLD.name IS NEW.name THEN '$.name' ELSE '$.none' END,
            CASE WHEN OLD.owner IS NEW.owner THEN '$.owner' ELSE '$.none' END,
            CASE WHEN OLD.allowed_ips IS NEW.allowed_ips THEN '$.allowed_ips' ELSE '$.none' END,
            CASE WHEN OLD.scopes IS NEW.scopes THEN '$.scopes' ELSE '$.none' END,
            CASE WHEN OLD.created_at IS NEW.created_at THEN '$.created_at' ELSE '$.none' END,
            CASE WHEN OLD.expires_at IS NEW.expires_at THEN '$.expires_at' ELSE '$.none' END,
            CASE WHEN OLD.disabled_at IS NEW.disabled_at THEN '$.disabled_at' ELSE '$.none' END,
            CASE WHEN OLD.revoked_at IS NEW.revoked_at THEN '$.revoked_at' ELSE '$.none' END,
            CASE WHEN OLD.replaced_by IS NEW.replaced_by THEN '$.replaced_by' ELSE '$.none' END,
            CASE WHEN OLD.id IS NEW.id THEN '$.id' ELSE '$.none' END,
            CASE WHEN OLD.digest IS NEW.digest THEN '$.digest' ELSE '$.none' END),
        (SELECT actor FROM api_key_session);
END;

CREATE TRIGGER api_keys_record_delete
AFTER DELETE ON api_keys
BEGIN
    INSERT INTO api_key_events (id, action, key_id, last_key_id, before, after, actor)
    SELECT coalesce(session.event, randomblob(16)),
        coalesce(session.summary, 'deleted'),
        OLD.id, OLD.id,
        CASE WHEN session.summary IS NULL THEN json_remove(
            json_object(
                'digest_algorithm', OLD.digest_algorithm,
                'hint', OLD.hint,
                'name', OLD.name,
                'owner', OLD.owner,
                'allowed_ips', OLD.allowed_ips,
                'scopes', OLD.scopes,
                'created_at', replace(replace(OLD.created_at, ' ', 'T'), '+00:00', '') || 'Z',
                'expires_at', replace(replace(OLD.expires_at, ' ', 'T'), '+00:00', '') || 'Z',
                'disabled_at', replace(replace(OLD.disabled_at, ' ', 'T'), '+00:00', '') || 'Z',
                'revoked_at', replace(replace(OLD.revoked_at, ' ', 'T'), '+00:00', '') || 'Z',
                'replaced_by', OLD.replaced_by),
            CASE WHEN OLD.owner IS NULL THEN '$.owner' ELSE '$.none' END,
            CASE WHEN OLD.expires_at IS NULL THEN '$.expires_at' ELSE '$.none' END,
            CASE WHEN OLD.disabled_at IS NULL THEN '$.disabled_at' ELSE '$.none' END,
            CASE WHEN OLD.revoked_at IS NULL THEN '$.revoked_at' ELSE '$.none' END,
            CASE WHEN OLD.replaced_by IS NULL THEN '$.replaced_by' ELSE '$.none' END) END,
        NULL,
        (SELECT actor FROM api_key_session)
      FROM (SELECT 1) LEFT JOIN api_key_session AS session ON session.summary = 'pruned'
     WHERE true
    ON CONFLICT (id) DO UPDATE SET
        key_id = min(key_id, excluded.key_id),
        last_key_id = max(last_key_id, excluded.last_key_id),
        key_count = key_count + 1;
END;

-- AFTER, because SQLite assigns the id during the insert.
CREATE TRIGGER api_keys_refuse_pruned
AFTER INSERT ON api_keys
BEGIN
    SELECT RAISE(ABORT, 'This API key was pruned, and pruning is final: neither its digest nor its id can be used again. Issue a new key instead.')
      FROM api_key_pruned
     WHERE digest = NEW.digest OR key_id = NEW.id;
END;

CREATE TRIGGER api_keys_refuse_pruned_update
AFTER UPDATE ON api_keys
WHEN NEW.digest IS NOT OLD.digest OR NEW.id IS NOT OLD.id
BEGIN
    SELECT RAISE(ABORT, 'This API key was pruned, and pruning is final: neither its digest nor its id can be used again. Issue a new key instead.')
      FROM api_key_pruned
     WHERE digest = NEW.digest OR key_id = NEW.id;
END;
