CREATE TABLE users (
    id   bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text   NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100)
);

-- Nullable: a key that the command issues belongs to nobody until you say so.
ALTER TABLE api_keys ADD COLUMN user_id bigint REFERENCES users (id) ON DELETE CASCADE;

-- Otherwise every user that is deleted scans the whole table for keys.
CREATE INDEX api_keys_user_id ON api_keys (user_id);
