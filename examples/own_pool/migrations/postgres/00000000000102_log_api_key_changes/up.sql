-- A log and not a counter: one row that every writer updates would let any open transaction
-- block a revocation. Nothing is ever updated here, and nothing of ours deletes old rows. Whoever
-- does keeps those whose transaction ended within the last two hours.
CREATE TABLE api_key_changes (
    seq        bigint      GENERATED ALWAYS AS IDENTITY,
    -- Sequences commit out of order; only snapshots tell which changes a reader has not seen yet.
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    -- Null means every key.
    digest     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT api_key_changes_pkey
        PRIMARY KEY (seq),
    CONSTRAINT api_key_changes_digest_is_32_bytes
        CHECK (octet_length(digest) = 32)
);

CREATE INDEX api_key_changes_xid ON api_key_changes (xid);

-- SECURITY DEFINER, so that whoever may change a key needs no right to write, or forge, the log.
-- Everything it runs is found in pg_catalog or named with its schema: neither the caller's
-- search_path nor a temporary table can redirect it.
CREATE FUNCTION api_keys_log_changes() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    affected text;
    logged   bigint;
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        affected := 'SELECT digest FROM new_rows';
    WHEN 'DELETE' THEN
        affected := 'SELECT digest FROM old_rows';
    WHEN 'UPDATE' THEN
        -- Columns known to be harmless are left out, and not those that matter listed: one that an
        -- application adds counts from its first day. Images are compared, because not every type
        -- has an equality operator, and because no code of such a type may run with these rights.
        SELECT format(
            'SELECT unnest(ARRAY[o.digest, n.digest]) AS digest
               FROM old_rows AS o FULL JOIN new_rows AS n ON n.id = o.id
              WHERE record_image_ne(ROW(%s), ROW(%s))',
            string_agg(format('o.%I', attname), ', ' ORDER BY attnum),
            string_agg(format('n.%I', attname), ', ' ORDER BY attnum))
          INTO affected
          FROM pg_attribute
         WHERE attrelid = TG_RELID
           AND attnum > 0
           AND NOT attisdropped
           AND attgenerated = ''
           AND attname NOT IN ('hint', 'created_at');
    WHEN 'TRUNCATE' THEN
        affected := NULL;
    END CASE;

    IF affected IS NULL THEN
        EXECUTE format('INSERT INTO %I.api_key_changes (digest) VALUES (NULL)', TG_TABLE_SCHEMA);
    ELSE
        -- Past 64, forgetting everything is cheaper for every reader than a list.
        EXECUTE format(
            'WITH affected AS MATERIALIZED (
                 SELECT DISTINCT digest FROM (%s) AS every WHERE digest IS NOT NULL LIMIT 65
             )
             INSERT INTO %I.api_key_changes (digest)
             SELECT digest FROM affected WHERE (SELECT count(*) FROM affected) <= 64
             UNION ALL
             SELECT NULL WHERE (SELECT count(*) FROM affected) > 64',
            affected, TG_TABLE_SCHEMA);
    END IF;

    GET DIAGNOSTICS logged = ROW_COUNT;
    IF logged > 0 THEN
        -- A wake-up without payload: a list too long for one would abort the change itself.
        PERFORM pg_notify('api_key_changes', '');
    END IF;
    RETURN NULL;
END;
$$;

CREATE FUNCTION api_keys_refuse_reviving() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'API key % is revoked, and revocation is final: revoked_at, digest and id cannot change any more. Issue a new key instead.', OLD.id
        USING ERRCODE = 'check_violation',
              CONSTRAINT = 'api_keys_revocation_is_final',
              TABLE = TG_TABLE_NAME,
              SCHEMA = TG_TABLE_SCHEMA;
END;
$$;

-- Otherwise anyone could attach these to a table of their own.
REVOKE ALL ON FUNCTION api_keys_log_changes() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_keys_refuse_reviving() FROM PUBLIC;

-- One trigger for each event: Postgres allows no more with transition tables.
CREATE TRIGGER api_keys_log_insert
    AFTER INSERT ON api_keys
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_log_changes();

CREATE TRIGGER api_keys_log_update
    AFTER UPDATE ON api_keys
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_log_changes();

CREATE TRIGGER api_keys_log_delete
    AFTER DELETE ON api_keys
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_log_changes();

CREATE TRIGGER api_keys_log_truncate
    AFTER TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_log_changes();

-- AFTER, because a BEFORE trigger of the application may run later and still change the row.
CREATE TRIGGER api_keys_revocation_is_final
    AFTER UPDATE ON api_keys
    FOR EACH ROW
    WHEN (OLD.revoked_at IS NOT NULL
          AND (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
               OR NEW.digest IS DISTINCT FROM OLD.digest
               OR NEW.id IS DISTINCT FROM OLD.id))
    EXECUTE FUNCTION api_keys_refuse_reviving();
