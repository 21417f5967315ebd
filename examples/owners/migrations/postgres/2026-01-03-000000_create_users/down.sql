DROP INDEX api_keys_user_id;
ALTER TABLE api_keys DROP COLUMN user_id;
DROP TABLE users;
