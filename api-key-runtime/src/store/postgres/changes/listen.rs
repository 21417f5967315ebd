//! Notifications: a wake-up and nothing more.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use diesel::{
    PgConnection, RunQueryDsl as _, connection::SimpleConnection as _, sql_query, sql_types::Text,
};

use crate::store::{Connection, Database, StoreError};

const CHANNEL: &str = "api_key_changes";
/// How often a connection is looked at for notifications, which takes no query: Diesel has no way to wait for them. Most of what that costs is
/// waking up.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a notification of our own may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it is until another one is sent where none arrived.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether notifications arrive. A connection pooler between us and the server takes LISTEN and swallows what comes of it.
///
/// The proof is a notification of our own that is sent over another connection. One sent over this very connection proves nothing: a
/// pooler passes it on with the answer of the statement that sent it, and never any other.
pub(super) struct Listening {
    proof: Proof,
    /// Whether it was said that none arrive, be it of an earlier connection.
    is_said: Arc<AtomicBool>,
}

enum Proof {
    /// Not sent before this time.
    Due(Instant),
    Sent {
        payload: String,
        at: Instant,
    },
    Arrived,
}

impl Listening {
    pub(super) fn start(connection: &mut PgConnection, is_said: Arc<AtomicBool>) -> Self {
        if let Err(error) = connection.batch_execute(&format!("LISTEN {CHANNEL}")) {
            log::debug!("LISTEN failed: {error}");
        }
        Self {
            proof: Proof::Due(Instant::now()),
            is_said,
        }
    }

    /// Waits for a notification.
    pub(super) fn wait(
        &mut self,
        connection: &mut PgConnection,
        database: &Database,
        at_most: Duration,
    ) -> Result<(), StoreError> {
        let until = Instant::now() + at_most;
        self.see_to_proof(database);
        loop {
            // Before it looks, so that notifications without a pause do not make reads without a pause.
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(POLL_INTERVAL.min(left));
            let mut is_woken = false;
            for notification in connection.notifications_iter() {
                let payload = notification.map_err(StoreError::new)?.payload;
                if matches!(&self.proof, Proof::Sent { payload: sent, .. } if *sent == payload) {
                    self.arrived(database);
                } else {
                    is_woken = true;
                }
            }
            if is_woken || left <= POLL_INTERVAL {
                return Ok(());
            }
        }
    }

    fn see_to_proof(&mut self, database: &Database) {
        match &self.proof {
            Proof::Due(at) if *at <= Instant::now() => {
                self.proof = match send_proof(database) {
                    Ok(payload) => Proof::Sent {
                        payload,
                        at: Instant::now(),
                    },
                    Err(error) => {
                        log::debug!(
                            "no notification could be sent to see whether it arrives: {error}"
                        );
                        Proof::Due(Instant::now() + RETRY_AFTER)
                    }
                };
            }
            Proof::Sent { at, .. } if at.elapsed() > PATIENCE => {
                self.proof = Proof::Due(Instant::now() + RETRY_AFTER);
                if !self.is_said.swap(true, Ordering::Relaxed) {
                    log::warn!(
                        "notifications of {database} do not arrive, as through a connection pooler: changes of keys are seen by asking for \
                         them several times within max_staleness, and not within milliseconds; to have both, name a direct connection \
                         with AppKeysBuilder::listen_url"
                    );
                }
            }
            Proof::Due(_) | Proof::Sent { .. } | Proof::Arrived => {}
        }
    }

    fn arrived(&mut self, database: &Database) {
        self.proof = Proof::Arrived;
        if self.is_said.swap(false, Ordering::Relaxed) {
            log::info!("notifications of {database} arrive again");
        }
    }
}

/// Sends a notification that no one else sends, over a connection of its own, and answers its payload.
fn send_proof(database: &Database) -> Result<String, Box<dyn std::error::Error>> {
    let mut payload = String::new();
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    for byte in random {
        write!(payload, "{byte:02x}")?;
    }
    match Connection::open(database)? {
        Connection::Postgres(mut connection) => {
            sql_query("SELECT pg_notify($1, $2)")
                .bind::<Text, _>(CHANNEL)
                .bind::<Text, _>(&payload)
                .execute(&mut *connection)?;
        }
        _ => return Err("only a URL of a Postgres can be listened to".into()),
    }
    Ok(payload)
}
