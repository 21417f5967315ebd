-- This table is a log instead of a counter, because an open transaction that updated the counter
-- would block every revocation. Ids do not come from a sequence, because a restore or replication
-- may copy rows without the sequence. Every change of a key would then fail with a duplicate id.
CREATE TABLE api_key_changes (
    id     uuid  NOT NULL DEFAULT gen_random_uuid(),
    -- The id of the transaction that wrote the row on this server. A trigger sets this column.
    -- Transactions end out of order, so only snapshots show which rows a reader has not seen yet.
    xid    xid8  NOT NULL,
    -- Null means every key.
    digest bytea,

    CONSTRAINT api_key_changes_pkey
        PRIMARY KEY (id),
    CONSTRAINT api_key_changes_digest_is_32_bytes
        CHECK (octet_length(digest) = 32)
);

CREATE INDEX api_key_changes_xid ON api_key_changes (xid);

-- The floor: a row older than every snapshot. A reader that finds no row older than its snapshot
-- may have missed pruned rows.
INSERT INTO api_key_changes (xid) VALUES ('0');

-- A restore or replication copies rows with the transaction numbers of another server. A reader
-- could take such a row for a row that it has seen, so this trigger sets the numbers.
CREATE FUNCTION api_key_changes_set_xid() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.xid := pg_current_xact_id();
    RETURN NEW;
END;
$$;

CREATE TRIGGER api_key_changes_set_xid
    BEFORE INSERT OR UPDATE ON api_key_changes
    FOR EACH ROW EXECUTE FUNCTION api_key_changes_set_xid();

ALTER TABLE api_key_changes ENABLE ALWAYS TRIGGER api_key_changes_set_xid;

-- The progress of pruning. At prune_at, all transactions older than prune_xmin had ended.
ALTER TABLE api_key_meta
    ADD COLUMN prune_xmin bigint,
    ADD COLUMN prune_at   timestamptz;

-- SECURITY DEFINER, so that a role that may change keys needs no privilege to write the log, and
-- cannot forge rows. All names are in pg_catalog or schema-qualified, so neither the caller's
-- search_path nor a temporary table can redirect them.
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
        -- Only harmless columns are excluded, so a column that an application adds counts as well.
        -- Row images are compared, because not every type has an equality operator. Also, no code
        -- of a type may run with these privileges.
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
        -- With more than 64 keys, dropping all cached keys is cheaper for readers than a list.
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
        -- The notification has no payload, because a payload that is too long would abort the
        -- change.
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

-- Statement triggers do not run for rows from logical replication, or in sessions whose
-- session_replication_role is replica. This row trigger runs only in these cases.
CREATE FUNCTION api_keys_log_replicated() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('INSERT INTO %I.api_key_changes (digest) VALUES ($1)', TG_TABLE_SCHEMA)
          USING OLD.digest;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format('INSERT INTO %I.api_key_changes (digest) VALUES ($1)', TG_TABLE_SCHEMA)
          USING NEW.digest;
    END IF;
    PERFORM pg_notify('api_key_changes', '');
    RETURN NULL;
END;
$$;

-- A replicated row contains the times of another server. A key that was revoked on this server
-- stays revoked. An error would stop the replication of all keys.
CREATE FUNCTION api_keys_keep_revocation() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.revoked_at := least(OLD.revoked_at, NEW.revoked_at);
    RETURN NEW;
END;
$$;

-- If a key was used on both servers, this table already has a row when the other server's first row
-- arrives. The trigger merges both rows. A primary key violation would stop the replication of
-- every other row.
CREATE FUNCTION api_key_usage_merge() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    merged bigint;
BEGIN
    EXECUTE format(
        'UPDATE %I.api_key_usage
            SET use_count = use_count + $1,
                last_used_ip = CASE WHEN $2 >= last_used_at THEN $3 ELSE last_used_ip END,
                last_used_at = greatest(last_used_at, $2)
          WHERE key_id = $4',
        TG_TABLE_SCHEMA)
      USING NEW.use_count, NEW.last_used_at, NEW.last_used_ip, NEW.key_id;
    GET DIAGNOSTICS merged = ROW_COUNT;
    RETURN CASE WHEN merged = 0 THEN NEW END;
END;
$$;

-- Restoring a data-only dump inserts a second row into api_key_meta. The trigger merges it into the
-- existing row.
CREATE FUNCTION api_key_meta_merge() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    merged bigint;
BEGIN
    EXECUTE format(
        'UPDATE %I.api_key_meta SET digest_algorithm = coalesce(digest_algorithm, $1) WHERE id = $2',
        TG_TABLE_SCHEMA)
      USING NEW.digest_algorithm, NEW.id;
    GET DIAGNOSTICS merged = ROW_COUNT;
    RETURN CASE WHEN merged = 0 THEN NEW END;
END;
$$;

-- Otherwise, any role could attach these functions to its own table.
REVOKE ALL ON FUNCTION api_keys_log_changes() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_keys_log_replicated() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_keys_keep_revocation() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_keys_refuse_reviving() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_key_usage_merge() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_key_meta_merge() FROM PUBLIC;
REVOKE ALL ON FUNCTION api_key_changes_set_xid() FROM PUBLIC;

-- One trigger per event, because Postgres does not allow transition tables in a trigger with
-- several events.
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

-- Replication of TRUNCATE fires no row triggers.
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_log_truncate;

CREATE TRIGGER api_keys_log_replicated
    AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_log_replicated();

ALTER TABLE api_keys ENABLE REPLICA TRIGGER api_keys_log_replicated;

CREATE TRIGGER api_keys_keep_revocation
    BEFORE UPDATE ON api_keys
    FOR EACH ROW
    WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
    EXECUTE FUNCTION api_keys_keep_revocation();

ALTER TABLE api_keys ENABLE REPLICA TRIGGER api_keys_keep_revocation;

CREATE TRIGGER api_key_usage_merge
    BEFORE INSERT ON api_key_usage
    FOR EACH ROW EXECUTE FUNCTION api_key_usage_merge();

ALTER TABLE api_key_usage ENABLE REPLICA TRIGGER api_key_usage_merge;

CREATE TRIGGER api_key_meta_merge
    BEFORE INSERT ON api_key_meta
    FOR EACH ROW EXECUTE FUNCTION api_key_meta_merge();

ALTER TABLE api_key_meta ENABLE ALWAYS TRIGGER api_key_meta_merge;

-- AFTER, because a later BEFORE trigger of the application could still change the row.
CREATE TRIGGER api_keys_revocation_is_final
    AFTER UPDATE ON api_keys
    FOR EACH ROW
    WHEN (OLD.revoked_at IS NOT NULL
          AND (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
               OR NEW.digest IS DISTINCT FROM OLD.digest
               OR NEW.id IS DISTINCT FROM OLD.id))
    EXECUTE FUNCTION api_keys_refuse_reviving();

-- The functions that services call. Their bodies name the schema and do not depend on search_path.
-- A later release adds new versions of these functions, and keeps the old versions.
DO $migration$
DECLARE
    keys    text := format('%I.api_keys', current_schema());
    changes text := format('%I.api_key_changes', current_schema());
    meta    text := format('%I.api_key_meta', current_schema());
    usage   text := format('%I.api_key_usage', current_schema());
    pruned  text := format('%I.api_key_pruned', current_schema());
BEGIN
    EXECUTE format($definition$
-- Returns each trigger with its tgenabled letter. Rules on the log, and other BEFORE triggers, may
-- keep changes out of the log. These are returned with the prefix "foreign".
CREATE FUNCTION %1$I.api_keys_triggers_v1() RETURNS SETOF text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT concat_ws(':', translate(tgname, ';,', '__'), tgenabled)
      FROM pg_trigger
     WHERE tgrelid IN (%2$L::regclass, %3$L::regclass, %4$L::regclass, %5$L::regclass, %6$L::regclass)
       AND NOT tgisinternal
    UNION ALL
    -- The bit with value 2 in tgtype means BEFORE.
    SELECT 'foreign ' || translate(tgname, ';,', '__')
      FROM pg_trigger
     WHERE tgrelid = %3$L::regclass
       AND tgname <> 'api_key_changes_set_xid'
       AND tgtype & 2 <> 0
       AND tgenabled <> 'D'
    UNION ALL
    SELECT 'foreign ' || translate(rulename, ';,', '__') FROM pg_rewrite WHERE ev_class = %3$L::regclass;
END;
$$
    $definition$, current_schema(), keys, changes, meta, usage, pruned);

    EXECUTE format($definition$
-- Appends to `head` what api_keys_changes_since_v1 returns if transactions have ended. `known` is
-- the hash of the definitions at the last read: the triggers are returned only if it has changed.
CREATE FUNCTION %1$I.api_keys_log_since_v1(since pg_snapshot, known bigint, head text) RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    triggers    text   := '';
    -- A change of a column's type or name may change the meaning of every row, and fires no
    -- trigger.
    definitions bigint := hashtextextended(concat_ws('/',
        ARRAY(SELECT xmin FROM pg_class WHERE oid IN (%2$L::regclass, %3$L::regclass) ORDER BY oid),
        ARRAY(SELECT xmin FROM pg_attribute
               WHERE attrelid = %2$L::regclass AND attnum > 0 ORDER BY attnum),
        ARRAY(SELECT xmin FROM pg_rewrite
               WHERE ev_class IN (%2$L::regclass, %3$L::regclass) ORDER BY oid),
        ARRAY(SELECT xmin FROM pg_trigger
               WHERE tgrelid IN (%2$L::regclass, %3$L::regclass, %4$L::regclass, %5$L::regclass, %6$L::regclass)
               ORDER BY oid),
        ARRAY(SELECT xmin FROM pg_proc
               WHERE oid = ANY (ARRAY(
                   SELECT tgfoid FROM pg_trigger
                    WHERE tgrelid IN (%2$L::regclass, %3$L::regclass, %4$L::regclass, %5$L::regclass, %6$L::regclass)))
               ORDER BY oid)), 0);
BEGIN
    IF definitions IS DISTINCT FROM known THEN
        triggers := (SELECT coalesce(string_agg(trigger, ',' ORDER BY trigger), '')
                       FROM %1$I.api_keys_triggers_v1() AS trigger);
    END IF;
    RETURN concat_ws(';', head, triggers, definitions,
        -- The floor is the newest row older than the snapshot, which an index finds despite dead
        -- rows.
        (SELECT xid FROM %1$I.api_key_changes WHERE xid < pg_snapshot_xmin(since)
          ORDER BY xid DESC LIMIT 1) IS NOT NULL,
        -- Rows that were not visible in the old snapshot and are visible now. With more than 1000
        -- rows, a reader drops all cached keys.
        coalesce((SELECT string_agg(coalesce(encode(digest, 'base64'), '*'), ',') FROM (
            SELECT digest FROM %1$I.api_key_changes
             WHERE xid >= pg_snapshot_xmax(since)
               AND xid < pg_snapshot_xmax(pg_current_snapshot())
            UNION ALL
            SELECT digest FROM %1$I.api_key_changes
             WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(since)))
             LIMIT 1001) AS changes), ''));
END;
$$
    $definition$, current_schema(), keys, changes, meta, usage, pruned);

    EXECUTE format($definition$
-- Returns the changes since a snapshot, as fields in one text. A STABLE function reads everything
-- in one snapshot. A VOLATILE function takes a snapshot for each inner statement, so a change that
-- commits between two statements would never be reported.
--
-- Idle services call this function several times a second. A SET clause and a subquery in the head
-- would double its time. So every function, operator and type names pg_catalog: otherwise one of
-- another role could be a better match.
CREATE FUNCTION %1$I.api_keys_changes_since_v1(since pg_snapshot, process integer, known bigint) RETURNS text
    LANGUAGE plpgsql
    STABLE
AS $$
DECLARE
    here     pg_catalog.text := pg_catalog.pg_current_snapshot()::pg_catalog.text;
    began_at pg_catalog.text;
    head     pg_catalog.text;
BEGIN
    -- The start time of this process, unless this process did the last read. Null if the role may
    -- not see the time.
    IF process IS NULL OR pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.<>) process THEN
        began_at := (
            SELECT (extract(epoch FROM backend_start) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text
              FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()));
    END IF;
    head := pg_catalog.concat_ws(';',
        here,
        (extract(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,
        pg_catalog.pg_is_in_recovery(),
        pg_catalog.row_security_active(%2$L::pg_catalog.regclass)
            OR pg_catalog.row_security_active(%3$L::pg_catalog.regclass),
        pg_catalog.pg_backend_pid(),
        coalesce(began_at, ''),
        -- The path of the table's file contains the id of the database.
        pg_catalog.concat_ws('/',
            pg_catalog.encode(pg_catalog.timestamptz_send(pg_catalog.pg_postmaster_start_time()), 'hex'),
            pg_catalog.pg_relation_filepath(%2$L::pg_catalog.regclass),
            %2$L::pg_catalog.regclass::pg_catalog.oid,
            %3$L::pg_catalog.regclass::pg_catalog.oid));
    -- No transaction has ended since the last read, so neither rows nor definitions have changed.
    IF here OPERATOR(pg_catalog.=) since::pg_catalog.text THEN
        RETURN pg_catalog.concat_ws(';', head, '', '', true, '');
    END IF;
    RETURN %1$I.api_keys_log_since_v1(since, known, head);
END;
$$
    $definition$, current_schema(), keys, changes);

    EXECUTE format($definition$
-- Deletes the oldest rows that every reader of the last hour has seen, and returns their number.
-- Any role may call this function. A reader that was disconnected for longer finds no row older
-- than its snapshot, and drops all cached keys. One call runs at a time, because the oldest rows
-- must be deleted first.
CREATE FUNCTION %1$I.api_keys_prune_v1(most integer) RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    oldest  xid8 := pg_snapshot_xmin(pg_current_snapshot());
    bound   xid8;
    noted   timestamptz;
    keep    xid8;
    deleted bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(%3$L::regclass::oid::bigint) THEN
        RETURN 0;
    END IF;
    SELECT prune_xmin::text::xid8, prune_at INTO bound, noted FROM %1$I.api_key_meta WHERE id = 1
       FOR UPDATE SKIP LOCKED;
    -- A transaction that issues the first key locks the row until the transaction ends. A later
    -- call prunes instead.
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF noted > clock_timestamp() - interval '1 hour' AND noted <= clock_timestamp() THEN
        RETURN 0;
    END IF;
    IF noted >= clock_timestamp() - interval '2 hours' AND noted <= clock_timestamp() THEN
        -- Deletes only rows older than every open transaction. In a restored dump, prune_xmin may
        -- be too high.
        bound := least(bound, oldest);
        SELECT xid INTO keep FROM %1$I.api_key_changes WHERE xid < bound ORDER BY xid DESC LIMIT 1;
        DELETE FROM %1$I.api_key_changes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM %1$I.api_key_changes WHERE xid < keep ORDER BY xid LIMIT most));
        GET DIAGNOSTICS deleted = ROW_COUNT;
        IF deleted >= most THEN
            RETURN deleted;
        END IF;
    END IF;
    UPDATE %1$I.api_key_meta SET prune_xmin = oldest::text::bigint, prune_at = clock_timestamp() WHERE id = 1;
    -- Restores the floor if all rows were deleted.
    INSERT INTO %1$I.api_key_changes (digest)
    SELECT NULL WHERE NOT EXISTS (SELECT FROM %1$I.api_key_changes);
    RETURN coalesce(deleted, 0);
END;
$$
    $definition$, current_schema(), keys, changes, meta);

    EXECUTE format($definition$
-- If an existing or pruned key already has the sequence's next id, moves the sequence to the next
-- free id. Such a conflict occurs after a restore or replication. Returns whether the sequence was
-- moved. Does not move past all higher ids, because another server may have assigned these ids. Any
-- role may call this function.
CREATE FUNCTION %1$I.api_keys_mend_identity_v1() RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    numbers regclass := pg_get_serial_sequence(%2$L, 'id')::regclass;
    step    bigint   := (SELECT seqincrement FROM pg_sequence WHERE seqrelid = numbers);
    next    bigint;
BEGIN
    FOR attempt IN 1..2 LOOP
        EXECUTE format('SELECT CASE WHEN is_called THEN last_value + $1 ELSE last_value END FROM %%s', numbers)
           INTO next USING step;
        IF NOT EXISTS (SELECT FROM %1$I.api_keys WHERE id = next)
           AND NOT EXISTS (SELECT FROM %1$I.api_key_pruned WHERE key_id = next) THEN
            RETURN false;
        END IF;
        -- Another session may move the sequence concurrently, so check again under a lock.
        PERFORM pg_advisory_xact_lock(numbers::oid::bigint);
    END LOOP;
    SELECT id + step INTO next
      FROM (SELECT id FROM %1$I.api_keys UNION ALL SELECT key_id FROM %1$I.api_key_pruned) AS taken
     WHERE id BETWEEN next AND 9223372036854775807 - step
       AND (id - next) %% step = 0
       AND NOT EXISTS (SELECT FROM %1$I.api_keys WHERE id = taken.id + step)
       AND NOT EXISTS (SELECT FROM %1$I.api_key_pruned WHERE key_id = taken.id + step)
     ORDER BY id LIMIT 1;
    PERFORM setval(numbers, next, false);
    RETURN true;
END;
$$
    $definition$, current_schema(), keys, changes, meta);
END;
$migration$;

-- Needed if default privileges do not grant EXECUTE to PUBLIC.
GRANT EXECUTE ON FUNCTION api_keys_triggers_v1() TO PUBLIC;
GRANT EXECUTE ON FUNCTION api_keys_changes_since_v1(pg_snapshot, integer, bigint) TO PUBLIC;
GRANT EXECUTE ON FUNCTION api_keys_log_since_v1(pg_snapshot, bigint, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION api_keys_prune_v1(integer) TO PUBLIC;
GRANT EXECUTE ON FUNCTION api_keys_mend_identity_v1() TO PUBLIC;
