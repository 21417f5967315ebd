-- The audit log. Events outlive their keys, so key_id has no foreign key. Ids do not come from a
-- sequence, for the same reason as in api_key_changes.
CREATE TABLE api_key_events (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    action      text        NOT NULL,
    -- A summary of several keys stores their lowest and highest id.
    key_id      bigint      NOT NULL,
    last_key_id bigint      NOT NULL,
    key_count   bigint      NOT NULL DEFAULT 1,
    -- The fields that changed. Neither a digest nor a key is ever recorded.
    before      jsonb,
    after       jsonb,
    -- The server records the role. The program that made the change states the actor, which is not
    -- verified.
    role        text        NOT NULL DEFAULT session_user,
    actor       text,

    CONSTRAINT api_key_events_pkey
        PRIMARY KEY (id),
    CONSTRAINT api_key_events_ids_are_in_order
        CHECK (key_id <= last_key_id),
    CONSTRAINT api_key_events_key_count_is_not_negative
        CHECK (key_count >= 0)
);

CREATE INDEX api_key_events_key_id ON api_key_events (key_id);
CREATE INDEX api_key_events_happened_at ON api_key_events (happened_at);
CREATE INDEX api_key_events_summaries ON api_key_events (last_key_id) WHERE key_count <> 1;

-- Keys that were deleted by pruning. An import or a restored row must not make them valid again.
-- Two servers may prune the same key before the deletion is replicated, so digests may repeat.
CREATE TABLE api_key_pruned (
    id        uuid        NOT NULL DEFAULT gen_random_uuid(),
    key_id    bigint      NOT NULL,
    digest    bytea       NOT NULL,
    pruned_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT api_key_pruned_pkey
        PRIMARY KEY (id),
    CONSTRAINT api_key_pruned_digest_is_32_bytes
        CHECK (octet_length(digest) = 32)
);

CREATE INDEX api_key_pruned_key_id ON api_key_pruned (key_id);
CREATE INDEX api_key_pruned_digest ON api_key_pruned (digest);

-- Writes one event for each changed key, or one summary for more than 64 keys. SECURITY DEFINER, so
-- that a role that may change keys needs no privileges on the audit log. The columns are listed,
-- because the type of a column that an application adds must not run code with these privileges.
CREATE FUNCTION api_keys_record_events() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    events  text := format('%I.api_key_events', TG_TABLE_SCHEMA);
    who     text := nullif(current_setting('app_key.actor', true), '');
    -- An import or a prune requests a summary for any number of keys. The request does not apply to
    -- updates.
    summary text := CASE concat_ws(' ', TG_OP, current_setting('app_key.summary', true))
                         WHEN 'INSERT imported' THEN 'imported'
                         WHEN 'DELETE pruned' THEN 'pruned' END;
    fields  text := 'jsonb_build_object(
        ''digest_algorithm'', %1$s.digest_algorithm, ''hint'', %1$s.hint, ''name'', %1$s.name,
        ''owner'', %1$s.owner, ''allowed_ips'', %1$s.allowed_ips, ''scopes'', %1$s.scopes,
        ''created_at'', to_char(%1$s.created_at AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''),
        ''expires_at'', to_char(%1$s.expires_at AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''),
        ''disabled_at'', to_char(%1$s.disabled_at AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''),
        ''revoked_at'', to_char(%1$s.revoked_at AT TIME ZONE ''UTC'', ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''),
        ''replaced_by'', %1$s.replaced_by)';
    columns text := '%1$s.id, %1$s.digest, %1$s.digest_algorithm, %1$s.hint, %1$s.name, %1$s.owner,
        %1$s.allowed_ips, %1$s.scopes, %1$s.created_at, %1$s.expires_at, %1$s.disabled_at,
        %1$s.revoked_at, %1$s.replaced_by';
    changed text;
    total   bigint;
    first   bigint;
    last    bigint;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('INSERT INTO %s (action, key_id, last_key_id, key_count, actor)
                        VALUES (''truncated'', 1, 9223372036854775807, 0, $1)', events)
          USING who;
        RETURN NULL;
    END IF;

    changed := format(
        'FROM %s FULL JOIN %s ON n.id = o.id WHERE record_image_ne(ROW(%s), ROW(%s))',
        CASE TG_OP WHEN 'INSERT' THEN '(SELECT * FROM new_rows WHERE false) AS o' ELSE 'old_rows AS o' END,
        CASE TG_OP WHEN 'DELETE' THEN '(SELECT * FROM old_rows WHERE false) AS n' ELSE 'new_rows AS n' END,
        format(columns, 'o'), format(columns, 'n'));
    EXECUTE 'SELECT count(*), min(coalesce(n.id, o.id)), max(coalesce(n.id, o.id)) ' || changed
       INTO total, first, last;

    IF total = 0 THEN
        RETURN NULL;
    ELSIF summary IS NOT NULL OR total > 64 THEN
        EXECUTE format('INSERT INTO %s (action, key_id, last_key_id, key_count, actor)
                        VALUES ($1, $2, $3, $4, $5)', events)
          USING coalesce(summary, CASE TG_OP WHEN 'INSERT' THEN 'issued'
                                             WHEN 'DELETE' THEN 'deleted' ELSE 'updated' END),
                first, last, total, who;
    ELSE
        EXECUTE format(
            'INSERT INTO %s (action, key_id, last_key_id, before, after, actor)
             SELECT CASE
                    WHEN old IS NULL THEN ''issued''
                    WHEN new IS NULL THEN ''deleted''
                    WHEN old->''revoked_at'' = ''null'' AND new->''revoked_at'' <> ''null'' THEN ''revoked''
                    WHEN old->''replaced_by'' = ''null'' AND new->''replaced_by'' <> ''null'' THEN ''rotated''
                    WHEN old->''disabled_at'' = ''null'' AND new->''disabled_at'' <> ''null'' THEN ''disabled''
                    WHEN old->''disabled_at'' <> ''null'' AND new->''disabled_at'' = ''null'' THEN ''enabled''
                    ELSE ''updated'' END,
                    key_id, key_id,
                    CASE WHEN new IS NULL THEN jsonb_strip_nulls(old) WHEN old IS NOT NULL THEN
                        (SELECT coalesce(jsonb_object_agg(key, value), ''{}'') FROM jsonb_each(old) WHERE value <> new->key) || digest END,
                    CASE WHEN old IS NULL THEN jsonb_strip_nulls(new) WHEN new IS NOT NULL THEN
                        (SELECT coalesce(jsonb_object_agg(key, value), ''{}'') FROM jsonb_each(new) WHERE value <> old->key) || digest END,
                    $1
               FROM (SELECT coalesce(n.id, o.id) AS key_id,
                            CASE WHEN o.id IS NOT NULL THEN %s END AS old,
                            CASE WHEN n.id IS NOT NULL THEN %s END AS new,
                            CASE WHEN o.digest <> n.digest THEN ''{"digest": "(not recorded)"}'' ELSE ''{}'' END::jsonb AS digest
                       %s) AS changes
              ORDER BY key_id',
            events, format(fields, 'o'), format(fields, 'n'), changed)
          USING who;
    END IF;
    RETURN NULL;
END;
$$;

-- The bodies of the next two functions name the schema. Without a dynamic query, Postgres caches
-- the query plans, which matters for a function that runs for each row.
DO $migration$
BEGIN
    EXECUTE format($definition$
CREATE FUNCTION %1$I.api_keys_refuse_pruned() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In a repeatable read or serializable transaction, an old snapshot may lack the newest pruned
    -- keys. Each prune updates this row, so locking the row then fails.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM %1$I.api_key_meta WHERE id = 1 FOR SHARE;
    END IF;
    IF NOT EXISTS (SELECT FROM %1$I.api_key_pruned WHERE digest = NEW.digest)
       AND NOT EXISTS (SELECT FROM %1$I.api_key_pruned WHERE key_id = NEW.id) THEN
        RETURN NEW;
    END IF;
    -- An error would stop the replication of all keys.
    IF current_setting('session_replication_role') = 'replica' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'API key %% was pruned, and pruning is final: neither its digest nor its id can be used again. Issue a new key instead.', NEW.id
        USING ERRCODE = 'check_violation',
              CONSTRAINT = 'api_keys_pruning_is_final',
              TABLE = TG_TABLE_NAME,
              SCHEMA = TG_TABLE_SCHEMA;
END;
$$
    $definition$, current_schema());

    EXECUTE format($definition$
CREATE FUNCTION %1$I.api_key_pruned_mark() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE %1$I.api_key_meta SET id = id WHERE id = 1;
    RETURN NULL;
END;
$$
    $definition$, current_schema());
END;
$migration$;

REVOKE ALL ON FUNCTION api_keys_record_events() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_keys_refuse_pruned() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_key_pruned_mark() FROM PUBLIC;

CREATE TRIGGER api_keys_record_insert
    AFTER INSERT ON api_keys
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_record_events();

CREATE TRIGGER api_keys_record_update
    AFTER UPDATE ON api_keys
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_record_events();

CREATE TRIGGER api_keys_record_delete
    AFTER DELETE ON api_keys
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_record_events();

CREATE TRIGGER api_keys_record_truncate
    AFTER TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_record_events();

CREATE TRIGGER api_keys_refuse_pruned
    BEFORE INSERT ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_refuse_pruned();

-- Replicated rows are checked as well.
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_refuse_pruned;

CREATE TRIGGER api_keys_refuse_pruned_update
    AFTER UPDATE ON api_keys
    FOR EACH ROW
    WHEN (NEW.digest IS DISTINCT FROM OLD.digest OR NEW.id IS DISTINCT FROM OLD.id)
    EXECUTE FUNCTION api_keys_refuse_pruned();

CREATE TRIGGER api_key_pruned_mark
    AFTER INSERT ON api_key_pruned
    FOR EACH STATEMENT EXECUTE FUNCTION api_key_pruned_mark();
