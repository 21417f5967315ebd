-- In WAL mode, readers do not wait for a writer, and a writer does not wait for readers.
PRAGMA journal_mode = WAL;

-- An existing table of an application. Its columns hold the data of a key record, but under other
-- names. Times are text in UTC, as Diesel's TimestamptzSqlite writes them.
CREATE TABLE IF NOT EXISTS partner_tokens (
    number           INTEGER   NOT NULL PRIMARY KEY AUTOINCREMENT,
    fingerprint      BLOB      NOT NULL UNIQUE CHECK (typeof(fingerprint) = 'blob' AND length(fingerprint) = 32),
    fingerprint_kind TEXT      NOT NULL,
    starts_with      TEXT      NOT NULL,
    label            TEXT      NOT NULL,
    partner          TEXT,
    networks         TEXT      NOT NULL,
    rights           TEXT      NOT NULL,
    issued_at        TIMESTAMP NOT NULL,
    valid_until      TIMESTAMP,
    paused_at        TIMESTAMP,
    ended_at         TIMESTAMP
);

-- The change log. The numbers follow the order of commits, because SQLite has one writer at a time.
-- Old rows may be deleted. A reader whose position was deleted treats every key as changed.
CREATE TABLE IF NOT EXISTS partner_token_changes (
    number      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- The position of a reader. It is random, because numbers repeat after a backup is restored.
    place       TEXT    NOT NULL UNIQUE DEFAULT (hex(randomblob(16))),
    -- Null in the first row, which provides a position before the first change.
    fingerprint BLOB
);

INSERT INTO partner_token_changes (fingerprint)
SELECT NULL WHERE NOT EXISTS (SELECT 1 FROM partner_token_changes);

CREATE TRIGGER IF NOT EXISTS partner_tokens_log_insert AFTER INSERT ON partner_tokens
BEGIN
    INSERT INTO partner_token_changes (fingerprint) VALUES (NEW.fingerprint);
END;

CREATE TRIGGER IF NOT EXISTS partner_tokens_log_update AFTER UPDATE ON partner_tokens
BEGIN
    INSERT INTO partner_token_changes (fingerprint) VALUES (OLD.fingerprint), (NEW.fingerprint);
END;

CREATE TRIGGER IF NOT EXISTS partner_tokens_log_delete AFTER DELETE ON partner_tokens
BEGIN
    INSERT INTO partner_token_changes (fingerprint) VALUES (OLD.fingerprint);
END;
