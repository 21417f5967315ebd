//! One suite that every store runs.

use api_key_runtime::{
    DieselStore, KeyRecord, KeyStore,
    test_util::{MemoryStore, Subject, acceptance_suite},
};
use chrono::{DateTime, Utc};

use crate::{
    support::{Database, database_test},
    tables::role_with_the_documented_grants,
};

struct InDatabase<'a> {
    database: &'a Database,
    store: DieselStore,
}

impl Subject for InDatabase<'_> {
    fn store(&self) -> &dyn KeyStore {
        &self.store
    }

    fn insert(&self, record: &KeyRecord) -> i64 {
        let hex: String = record
            .digest
            .as_bytes()
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let digest = if self.database.is_postgres() {
            format!("'\\x{hex}'::bytea")
        } else {
            format!("x'{hex}'")
        };
        let time = |time: Option<DateTime<Utc>>| {
            time.map_or_else(
                || "NULL".to_owned(),
                |time| format!("'{}'", time.format("%Y-%m-%d %H:%M:%S%.6f+00:00")),
            )
        };
        let owner = record
            .owner
            .as_ref()
            .map_or_else(|| "NULL".to_owned(), |owner| format!("'{owner}'"));
        let values = format!(
            "{digest}, '{}', '{}', '{}', {owner}, '{}', '{}', {}, {}, {}",
            record.digest_key,
            record.hint,
            record.name,
            record.allowed_ips,
            record.scopes,
            time(Some(record.created_at)),
            time(record.expires_at),
            time(record.disabled_at)
        );
        self.database
            .execute(&format!(
                "INSERT INTO api_keys (digest, digest_key, hint, name, owner, allowed_ips, scopes, created_at, expires_at, disabled_at) VALUES ({values})"
            ))
            .unwrap();
        self.database
            .texts("SELECT cast(max(id) AS text) FROM api_keys")
            .remove(0)
            .parse()
            .unwrap()
    }

    fn revoke(&self, id: i64, at: DateTime<Utc>) {
        self.database
            .execute(&format!(
                "UPDATE api_keys SET revoked_at = '{}' WHERE id = {id}",
                at.format("%Y-%m-%d %H:%M:%S%.6f+00:00")
            ))
            .unwrap();
    }
}

// B7
database_test!(
    the_store_over_diesel_passes_the_acceptance_suite,
    |database: Database| {
        let store = DieselStore::open(database.migrate().url()).unwrap();
        acceptance_suite(&InDatabase {
            database: &database,
            store,
        });
    }
);

// E9
#[test]
fn a_role_with_only_the_documented_grants_passes_the_acceptance_suite() {
    let database = Database::postgres();
    let role = role_with_the_documented_grants(database.migrate());
    let store = DieselStore::open(&role).unwrap();
    acceptance_suite(&InDatabase {
        database: &database,
        store,
    });
    let name = database.url().rsplit_once('/').unwrap().1;
    database
        .execute(&format!("DROP OWNED BY role_{name}; DROP ROLE role_{name}"))
        .unwrap();
}

struct InMemory(MemoryStore);

impl Subject for InMemory {
    fn store(&self) -> &dyn KeyStore {
        &self.0
    }

    fn insert(&self, record: &KeyRecord) -> i64 {
        self.0.put(record.clone())
    }

    fn revoke(&self, id: i64, at: DateTime<Utc>) {
        self.0.change(id, |record| record.revoked_at = Some(at));
    }
}

#[test]
fn the_store_in_memory_passes_the_acceptance_suite() {
    acceptance_suite(&InMemory(MemoryStore::default()));
}

// E13
database_test!(
    administration_does_what_it_says_and_revocation_is_final,
    |database: Database| {
        let admin = database.admin();
        let (_, id) = database.issue("0.0.0.0");
        let disabled = admin.disable(id).unwrap();
        assert!(disabled.disabled_at.is_some());
        assert_eq!(
            admin.disable(id).unwrap().disabled_at,
            disabled.disabled_at,
            "disabling twice changes nothing"
        );
        assert_eq!(admin.enable(id).unwrap().disabled_at, None);
        assert_eq!(admin.enable(id).unwrap().disabled_at, None);
        let revoked = admin.revoke(id).unwrap();
        assert!(revoked.revoked_at.is_some());
        assert_eq!(
            admin.revoke(id).unwrap().revoked_at,
            revoked.revoked_at,
            "revoking twice changes nothing"
        );
        assert!(admin.enable(id).unwrap_err().is_refused());
        assert!(admin.disable(id).unwrap_err().is_refused());
        for unknown in [0, -1, id + 1, i64::MAX] {
            assert!(admin.revoke(unknown).unwrap_err().is_not_found());
            assert!(admin.disable(unknown).unwrap_err().is_not_found());
            assert!(admin.enable(unknown).unwrap_err().is_not_found());
            assert!(admin.get(unknown).unwrap_err().is_not_found());
        }
        assert_eq!(admin.list().unwrap().len(), 1);
    }
);
