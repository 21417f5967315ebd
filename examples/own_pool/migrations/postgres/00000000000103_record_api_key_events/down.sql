DROP TRIGGER api_keys_refuse_pruned ON api_keys;
DROP TRIGGER api_keys_record_truncate ON api_keys;
DROP TRIGGER api_keys_record_delete ON api_keys;
DROP TRIGGER api_keys_record_update ON api_keys;
DROP TRIGGER api_keys_record_insert ON api_keys;
DROP TABLE api_key_pruned;
DROP TABLE api_key_events;
DROP FUNCTION api_keys_refuse_pruned();
DROP FUNCTION api_keys_record_events();
