//! Operators, which change keys through the administration in a server's process or in another
//! process, or by direct SQL.
//!
//! Each operator has separate keys and makes one change at a time. If the outcome of a change is
//! unknown, the operator revokes the key, and retries until the revocation succeeds.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use api_key_runtime::admin::Admin;
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    client::Client,
    event::{Allowed, By, Caller, Change, Handle, Moment, Outcome, What},
    pool::{Pool, Shown},
    recorder::Recorder,
    row::Row,
    sql::{End, Sql},
};
use crate::support::{hex, random::Random};

/// The number of keys that an operator has at a time. A new key replaces a revoked or deleted key.
const LIVE: usize = 6;
/// A lifetime that is longer than most runs. Some wrong clocks are ahead by more than this
/// lifetime, and must not expire the key.
const FAR: Duration = Duration::from_secs(50 * 60);

pub(super) struct Operator<'a> {
    pub(super) recorder: &'a Recorder,
    pub(super) pool: &'a Pool,
    pub(super) random: Random,
    pub(super) database_url: &'a str,
    pub(super) admin: &'a Admin,
    /// A client for each server through which operators may change keys.
    pub(super) servers: Vec<Client<'a>>,
    pub(super) keys: Vec<Owned>,
}

/// A key of an operator, with the expected state of its row.
pub(super) struct Owned {
    pub(super) shown: Shown,
    /// The digest as an SQL literal.
    digest: String,
    id: Option<i64>,
    pub(super) row: Row,
    /// Whether the row in the database may differ from `row`, or may still change.
    pub(super) is_doubtful: bool,
}

impl Operator<'_> {
    /// Issues and changes keys until `stop` is set.
    pub(super) fn run(mut self, stop: &AtomicBool) -> Vec<Owned> {
        while !stop.load(Ordering::Relaxed) {
            if self.keys.len() < LIVE {
                self.issue();
            } else {
                self.change_some();
            }
            self.rest(30, 150);
        }
        self.keys
    }

    fn rest(&mut self, least: u64, most: u64) {
        let more = self.random.below(usize::try_from(most - least).unwrap());
        thread::sleep(Duration::from_millis(least + u64::try_from(more).unwrap()));
    }

    fn one_in(&mut self, number: usize) -> bool {
        self.random.below(number) == 0
    }

    /// Issues a key. Clients sometimes present the key before it is issued, so that servers have a
    /// negative entry.
    fn issue(&mut self) {
        let (shown, issued) = self.pool.make();
        let was_presented = self.one_in(2);
        if was_presented {
            self.pool.add(&shown);
            self.rest(50, 300);
        }
        let allowed = self.some_allowed();
        let digest = literal(&hex(issued.record.digest.as_bytes()), self.database_url);
        let insert = format!(
            "INSERT INTO api_keys (digest, digest_algorithm, hint, name, allowed_ips) VALUES ({digest}, '{}', '{}', 'history', '{}')",
            issued.record.digest_algorithm,
            issued.record.hint,
            addresses(allowed)
        );
        let mut key = Owned { shown, digest, id: None, row: Row::NONE, is_doubtful: false };
        let outcome = self.by_sql(&mut key, Change::Issue(allowed), &insert, End::Commit);
        if !was_presented {
            self.pool.add(&key.shown);
        }
        self.keep_unless(outcome == Outcome::Undone, key);
    }

    fn change_some(&mut self) {
        let mut key = self.keys.swap_remove(self.random.below(LIVE));
        self.pool.attend_to(&key.shown);
        let mut change = Change::Revoke;
        if !key.is_doubtful {
            self.rest(0, 120);
            if self.one_in(3) {
                // This change makes the servers look up the key again. The next change may come
                // during that lookup.
                self.change(&mut key, Change::Rename);
                self.rest(0, 60);
            }
            if !key.is_doubtful {
                change = self.some_change(key.row);
            }
        }
        let outcome = self.change(&mut key, change);
        let is_final = matches!(change, Change::Revoke | Change::Delete);
        self.keep_unless(is_final && outcome == Outcome::Done, key);
    }

    fn keep_unless(&mut self, is_over: bool, key: Owned) {
        if is_over {
            self.pool.is_over(&key.shown);
        } else {
            self.keys.push(key);
        }
    }

    fn some_allowed(&mut self) -> Allowed {
        match self.random.below(4) {
            0 => Allowed::Only(Caller::Home),
            1 => Allowed::Only(Caller::Abroad),
            _ => Allowed::Anyone,
        }
    }

    fn some_change(&mut self, row: Row) -> Change {
        match self.random.below(100) {
            0..35 if row.disabled => Change::Enable,
            0..35 => Change::Disable,
            35..54 => Change::Allow(self.some_allowed()),
            54..70 if row.expires_at.is_some() => Change::ExpireAt(None),
            54..57 => Change::ExpireAt(Some(self.recorder.now().after(FAR))),
            57..70 => {
                let left = Duration::from_millis(200 + self.random.below(1200) as u64);
                Change::ExpireAt(Some(self.recorder.now().after(left)))
            }
            70..74 => Change::Delete,
            74..80 => Change::Rename,
            _ => Change::Revoke,
        }
    }

    /// Makes a change through a server, through the administration or by SQL.
    fn change(&mut self, key: &mut Owned, change: Change) -> Outcome {
        let word = match change {
            Change::Revoke => Some("revoke"),
            Change::Disable => Some("disable"),
            Change::Enable => Some("enable"),
            _ => None,
        };
        let id = self.id(key);
        match (word, id, self.random.below(3)) {
            (Some(word), Some(id), 0) if !self.servers.is_empty() => {
                self.by_server(key, change, id, word)
            }
            (Some(_), Some(id), 1) => self.by_admin(key, change, id),
            _ => {
                let statement = self.statement(key, change);
                let end =
                    if !key.is_doubtful && self.one_in(10) { End::Rollback } else { End::Commit };
                self.by_sql(key, change, &statement, end)
            }
        }
    }

    fn id(&self, key: &mut Owned) -> Option<i64> {
        if key.id.is_none() {
            let find = format!("SELECT id AS number FROM api_keys WHERE digest = {}", key.digest);
            key.id = Sql::connect(self.database_url)?.number(&find);
        }
        key.id
    }

    fn statement(&mut self, key: &Owned, change: Change) -> String {
        let now = time(Utc::now());
        let set = match change {
            // The database rejects a change of the revocation time, so an earlier time is kept.
            Change::Revoke => format!("revoked_at = coalesce(revoked_at, '{now}')"),
            Change::Disable => format!("disabled_at = '{now}'"),
            Change::Enable => "disabled_at = NULL".to_owned(),
            Change::Allow(allowed) => format!("allowed_ips = '{}'", addresses(allowed)),
            Change::ExpireAt(None) => "expires_at = NULL".to_owned(),
            Change::ExpireAt(Some(end)) => {
                format!("expires_at = '{}'", time(self.by_the_wall_clock(end)))
            }
            Change::Rename => format!("name = 'renamed {}'", self.random.below(1_000_000)),
            Change::Issue(_) | Change::Delete => {
                return format!("DELETE FROM api_keys WHERE digest = {}", key.digest);
            }
        };
        format!("UPDATE api_keys SET {set} WHERE digest = {}", key.digest)
    }

    /// Converts a moment to wall-clock time. The clocks are read again if the reads took long,
    /// because the result would be inexact.
    fn by_the_wall_clock(&self, moment: Moment) -> DateTime<Utc> {
        const APART: Duration = Duration::from_millis(5);
        loop {
            let before = self.recorder.now();
            let wall = Utc::now();
            if self.recorder.now().since(before) < APART {
                return wall + TimeDelta::from_std(moment.since(before)).unwrap();
            }
        }
    }

    /// Makes a change by SQL. Some transactions stay open, so that later transactions commit first.
    fn by_sql(&mut self, key: &mut Owned, change: Change, statement: &str, end: End) -> Outcome {
        let open_for = if self.one_in(3) {
            Duration::from_millis(self.random.below(150) as u64)
        } else {
            Duration::ZERO
        };
        let url = self.database_url;
        self.make(key, change, || {
            let outcome = match Sql::connect(url) {
                Some(mut sql) => sql.transaction(statement, open_for, end),
                None => Outcome::Undone,
            };
            (By::Sql, outcome)
        })
    }

    fn by_admin(&mut self, key: &mut Owned, change: Change, id: i64) -> Outcome {
        let admin = self.admin;
        self.make(key, change, || {
            let changed = match change {
                Change::Disable => admin.disable(id),
                Change::Enable => admin.enable(id),
                _ => admin.revoke(id),
            };
            let outcome = match changed {
                Ok(_) => Outcome::Done,
                Err(error) if error.is_conflict() || error.is_not_found() => Outcome::Undone,
                Err(_) => Outcome::Unknown,
            };
            (By::Admin, outcome)
        })
    }

    fn by_server(&mut self, key: &mut Owned, change: Change, id: i64, word: &str) -> Outcome {
        let mut server = self.servers.swap_remove(self.random.below(self.servers.len()));
        let outcome = self.make(key, change, || match server.change(id, word) {
            Some(answered) => {
                let outcome = match answered.status {
                    200 => Outcome::Done,
                    409 => Outcome::Undone,
                    _ => Outcome::Unknown,
                };
                (By::Server(answered.server), outcome)
            }
            // The server need not have applied an unacknowledged change, so its number does not
            // matter.
            None => (By::Admin, Outcome::Unknown),
        });
        if outcome == Outcome::Done {
            // Every handle of the server must already have applied the change.
            for handle in Handle::ALL {
                server.present(handle, &key.shown, Caller::Home);
            }
        }
        self.servers.push(server);
        outcome
    }

    /// Makes and records the change, and updates the expected state of the row.
    fn make(
        &self,
        key: &mut Owned,
        change: Change,
        make: impl FnOnce() -> (By, Outcome),
    ) -> Outcome {
        let began = self.recorder.now();
        let (by, outcome) = make();
        let number = key.shown.number;
        self.recorder.ended(began, What::Change { key: number, change, by, outcome });
        match outcome {
            Outcome::Done => {
                key.row = key.row.after(change);
                if let Change::ExpireAt(Some(end)) = change {
                    self.pool.expires_in(&key.shown, end.since(self.recorder.now()));
                }
            }
            Outcome::Undone => {}
            Outcome::Unknown => key.is_doubtful = true,
        }
        outcome
    }
}

fn literal(hex: &str, database_url: &str) -> String {
    if database_url.starts_with("postgres:") {
        format!("'\\x{hex}'::bytea")
    } else {
        format!("x'{hex}'")
    }
}

fn addresses(allowed: Allowed) -> &'static str {
    match allowed {
        Allowed::Anyone => "0.0.0.0",
        Allowed::Only(caller) => caller.address(),
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string()
}
