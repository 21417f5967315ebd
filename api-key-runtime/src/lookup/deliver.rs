//! Delivery of the records that the store returned for a batch. The records are checked and cached,
//! and the waiting requests are answered.

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

/// A defect of the records that a store returned for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    UnreadableAllowedIps,
    TwoRecords,
    OtherDigestAlgorithm,
}

impl Shared {
    /// Caches the result for each digest, and returns the results by digest. If the store returned
    /// two records for a digest, that digest is neither cached nor returned.
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
                // One of the two records may be revoked.
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

    /// Returns whether the record names the digest algorithm that produced its digest. A record
    /// that names another algorithm is ignored.
    fn is_made_by(&self, record: &KeyRecord, made_by: &DigestAlgorithm) -> bool {
        let is = record.digest_algorithm == *made_by;
        if !is {
            self.log_once(record.id, Fault::OtherDigestAlgorithm, record.digest_algorithm.as_str());
        }
        is
    }

    /// Logs a defect of a key. Each kind of defect is throttled separately, because a key may have
    /// several defects.
    fn log_once(&self, id: i64, fault: Fault, value: &str) {
        if !self.logged.should_log((id, fault)) {
            return;
        }
        match fault {
            Fault::UnreadableAllowedIps => log::error!(
                "key {id} is rejected from every address: its allowed_ips {value:?} cannot be \
                 read; correct the column allowed_ips"
            ),
            Fault::TwoRecords => {
                log::error!(
                    "key {id} is rejected: the store returned two records for its digest; remove \
                     one of them"
                );
            }
            Fault::OtherDigestAlgorithm => log::error!(
                "key {id} is rejected: its digest_algorithm {value:?} does not match how its \
                 digest was computed; correct the column digest_algorithm"
            ),
        }
    }

    /// Answers the requests that arrived before the query was sent. Requests that arrived later get
    /// the result too if it is still current. Otherwise their keys are looked up again.
    pub(super) fn deliver(
        &self,
        batch: Batch,
        found: &HashMap<KeyDigest, Option<Arc<CachedKey>>>,
        stamp: ReadStamp,
    ) {
        let now = MonotonicTime::now();
        let mut answers: Vec<(Answer, Vec<Waiter>)> = Vec::with_capacity(batch.len());
        let mut again = false;
        // While this lock is held, no request can join. So the check below sees every change that
        // was applied before any of the waiting requests arrived.
        let mut state = self.lock();
        let permit = self.cache.permit(stamp, now);
        for (lookup, digests) in batch {
            let answer = answer_of(&digests, found);
            // A revoked key stays revoked, so the result is current for later requests too.
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

/// Returns the key with the current digest, or else the key with the previous digest. Returns an
/// error if a digest has no result, because the store returned two records for it.
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
