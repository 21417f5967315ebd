DROP TRIGGER api_keys_refuse_pruned_update;
DROP TRIGGER api_keys_refuse_pruned;
DROP TRIGGER api_keys_record_delete;
DROP TRIGGER api_keys_record_update;
DROP TRIGGER api_keys_record_insert;
DROP TABLE api_key_session;
DROP TABLE api_key_pruned;
DROP TABLE api_key_events;
