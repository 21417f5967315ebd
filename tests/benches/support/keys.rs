//! Keys with their digests.

use api_key_runtime::{AppKeys, admin::NewKey, store::KeyDigest, test_util::MemoryStore};

/// A native key and its digest, which is computed without a pepper.
pub(crate) struct Key {
    pub(crate) secret: String,
    pub(crate) digest: KeyDigest,
}

/// Makes distinct, well-formed keys.
pub(crate) struct Maker {
    keys: AppKeys,
    new: NewKey,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self {
            keys: AppKeys::builder().store(MemoryStore::default()).build().unwrap(),
            new: NewKey::new("bench").allow_any(),
        }
    }

    pub(crate) fn make(&self) -> Key {
        let issued = self.keys.make_key(&self.new).unwrap();
        Key { secret: issued.secret.expose_secret().to_owned(), digest: issued.record.digest }
    }
}

pub(crate) fn make_keys(count: usize) -> Vec<Key> {
    let maker = Maker::new();
    (0..count).map(|_| maker.make()).collect()
}
