CREATE TABLE users (
    id   bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text   NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100)
);

-- Nullable, because a key that the command issues has no user at first.
ALTER TABLE api_keys ADD COLUMN user_id bigint REFERENCES users (id) ON DELETE CASCADE;

-- Without this index, deleting a user scans the whole table for keys.
CREATE INDEX api_keys_user_id ON api_keys (user_id);
