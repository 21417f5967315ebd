//! Runs the acceptance suite of api-key-runtime on this store.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;

use api_key_runtime::{
    admin::KeyRecord,
    store::KeyStore,
    test_util::{StoreFactory, acceptance_suite},
};
use chrono::{DateTime, Utc};
use own_table::PartnerTokens;

struct Tokens(PartnerTokens);

impl StoreFactory for Tokens {
    fn store(&self) -> &dyn KeyStore {
        &self.0
    }

    fn insert(&self, record: &KeyRecord) -> i64 {
        self.0.insert(record).unwrap()
    }

    fn revoke(&self, id: i64, at: DateTime<Utc>) {
        assert!(self.0.end(id, at).unwrap());
    }
}

#[test]
fn the_store_over_its_own_table_passes_the_acceptance_suite() {
    let folder = std::env::temp_dir().join(format!("own-table-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("tokens.db");
    let tokens = PartnerTokens::open(path.to_str().unwrap()).unwrap();
    assert!(
        tokens.watch().unwrap().is_some(),
        "the store reports changes, so the suite tests them"
    );
    acceptance_suite(&Tokens(tokens));
    fs::remove_dir_all(folder).unwrap();
}
