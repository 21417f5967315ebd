CREATE TABLE users (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 100)
) STRICT;

-- Nullable: a key that the command issues belongs to nobody until you say so.
ALTER TABLE api_keys ADD COLUMN user_id INTEGER REFERENCES users (id) ON DELETE CASCADE;

-- Otherwise every user that is deleted scans the whole table for keys.
CREATE INDEX api_keys_user_id ON api_keys (user_id);
