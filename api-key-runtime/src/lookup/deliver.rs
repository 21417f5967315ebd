//! What a store answered to a batch: checked, kept, and handed to everyone who waits.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Answer, Shared,
    queue::{Batch, Waiter},
};
use crate::{
    cache::CachedKey,
    cache::ReadStamp,
    clock::MonotonicTime,
    key::{DigestAlgorithm, Digests, KeyDigest},
    key_record::KeyRecord,
    log,
    rejection::Reason,
};

/// What may be wrong with what a store answers of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    UnreadableAllowedIps,
    TwoRecords,
    OtherDigestAlgorithm,
}

impl Shared {
    /// Keeps what was found of each digest; those of which the store said two things are missing in
    /// the answer.
    pub(super) fn keep(
        &self,
        batch: &Batch,
        records: Vec<KeyRecord>,
        stamp: ReadStamp,
        now: MonotonicTime,
    ) -> HashMap<KeyDigest, Option<Arc<CachedKey>>> {
        let mut unclear = HashSet::new();
        let mut by_digest = HashMap::with_capacity(records.len());
        for record in records {
            let (id, digest) = (record.id, record.digest);
            if !record.allowed_ips.is_readable() {
                self.log_once(id, Fault::UnreadableAllowedIps, record.allowed_ips.as_str());
            }
            if by_digest.insert(digest, record).is_some() {
                // One of them may be revoked.
                unclear.insert(digest);
                self.log_once(id, Fault::TwoRecords, "");
            }
        }
        let asked =
            batch.iter().flat_map(|(_, digests)| digests.iter().zip(self.digester.algorithms()));
        let found =
            asked.filter(|(digest, _)| !unclear.contains(digest)).map(|(digest, made_by)| {
                let record =
                    by_digest.remove(&digest).filter(|record| self.is_made_by(record, made_by));
                (digest, record)
            });
        self.cache.fill(stamp, found.collect(), now)
    }

    /// A record that claims another way of digesting than the one its digest was asked for by is
    /// none.
    fn is_made_by(&self, record: &KeyRecord, made_by: &DigestAlgorithm) -> bool {
        let is = record.digest_algorithm == *made_by;
        if !is {
            self.log_once(record.id, Fault::OtherDigestAlgorithm, record.digest_algorithm.as_str());
        }
        is
    }

    /// Each fault of a key for itself: one that was logged before says nothing of another.
    fn log_once(&self, id: i64, fault: Fault, value: &str) {
        if !self.logged.should_log((id, fault)) {
            return;
        }
        match fault {
            Fault::UnreadableAllowedIps => log::error!(
                "key {id} is rejected from every address: its column allowed_ips cannot be read: {value:?}; correct the column"
            ),
            Fault::TwoRecords => {
                log::error!("key {id} is rejected: the store returned two records for its digest");
            }
            Fault::OtherDigestAlgorithm => log::error!(
                "key {id} is rejected: its digest_algorithm {value:?} is not the algorithm that its digest was made with"
            ),
        }
    }

    /// Answers those who came before the query was sent, and everyone else if it still holds; the
    /// others are asked for again.
    pub(super) fn deliver(
        &self,
        batch: Batch,
        found: &HashMap<KeyDigest, Option<Arc<CachedKey>>>,
        stamp: ReadStamp,
    ) {
        let now = MonotonicTime::now();
        let mut answers: Vec<(Answer, Vec<Waiter>)> = Vec::with_capacity(batch.len());
        let mut again = false;
        // Nobody joins from here on, and so nobody who comes after a change that is not seen below.
        let mut state = self.lock();
        let permit = self.cache.permit(stamp, now);
        for (lookup, digests) in batch {
            let answer = answer_of(&digests, found);
            // Revocation is final.
            let is_final = matches!(&answer, Ok(Some(key)) if key.is_revoked());
            let holds = is_final || digests.iter().all(|digest| permit.still_holds(&digest));
            let finished = state.queue.finish(lookup);
            let (in_time, too_late): (Vec<_>, Vec<_>) =
                finished.waiters.into_iter().partition(|waiter| holds || waiter.since < stamp.sent);
            if !too_late.is_empty() {
                state.queue.requeue(digests, finished.priority, too_late, now);
                again = true;
            }
            answers.push((answer, in_time));
        }
        drop((permit, state));
        if again {
            self.wake.notify_one();
        }
        for (answer, waiters) in answers {
            for waiter in waiters {
                waiter.answer(answer.clone());
            }
        }
    }
}

/// The key under the current digest, else under the previous one.
fn answer_of(digests: &Digests, found: &HashMap<KeyDigest, Option<Arc<CachedKey>>>) -> Answer {
    for digest in digests.iter() {
        match found.get(&digest) {
            None => return Err(Reason::Unavailable),
            Some(Some(key)) => return Ok(Some(Arc::clone(key))),
            Some(None) => {}
        }
    }
    Ok(None)
}
