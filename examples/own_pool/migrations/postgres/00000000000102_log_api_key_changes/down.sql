DROP TRIGGER api_keys_revocation_is_final ON api_keys;
DROP TRIGGER api_keys_log_truncate ON api_keys;
DROP TRIGGER api_keys_log_delete ON api_keys;
DROP TRIGGER api_keys_log_update ON api_keys;
DROP TRIGGER api_keys_log_insert ON api_keys;
DROP FUNCTION api_keys_refuse_reviving();
DROP FUNCTION api_keys_log_changes();
DROP TABLE api_key_changes;
