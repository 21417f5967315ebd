//! Notifications, which wake the reader of changes before the end of its wait. Without
//! notifications, changes are found later, but no change is missed.

use crate::log;
use std::{
    fmt::Write as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use diesel::{
    PgConnection, RunQueryDsl as _, connection::SimpleConnection as _, sql_query, sql_types::Text,
};

use crate::store::{Database, StoreError, postgres::connect};

const CHANNEL: &str = "api_key_changes";
/// How often a connection is checked for notifications, because Diesel cannot wait for them. A
/// check needs no query.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long the probe notification may take to arrive.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait before the next probe if a probe could not be sent or did not arrive.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The state of a listening connection. A connection pooler may accept LISTEN but not deliver
/// notifications, so a probe checks that notifications arrive.
///
/// The probe is a notification that is sent over another connection. A notification that is sent
/// over the listening connection would prove nothing, because a pooler delivers such a notification
/// with the response to NOTIFY.
pub(super) struct Listening {
    probe: Probe,
    notifications: Arc<Notifications>,
    /// Whether a notification arrived at the end of the last wait.
    is_woken: bool,
}

/// The state that outlives a listening connection.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    /// Whether the warning about missing notifications was logged.
    is_said: AtomicBool,
    /// Whether a thread is sending a probe.
    is_sending: AtomicBool,
}

enum Probe {
    /// The next probe is sent at or after this time.
    Due(Instant),
    Sent {
        payload: String,
        outcome: Outcome,
    },
    Arrived,
}

/// The time when the probe was sent, or `None` if the probe could not be sent. The cell is empty
/// while the probe is being sent.
type Outcome = Arc<OnceLock<Option<Instant>>>;

impl Listening {
    pub(super) fn start(connection: &mut PgConnection, notifications: Arc<Notifications>) -> Self {
        if let Err(error) = connection.batch_execute(&format!("LISTEN {CHANNEL}")) {
            log::debug!("LISTEN failed: {error}");
        }
        Self { probe: Probe::Due(Instant::now()), notifications, is_woken: false }
    }

    /// Waits for a notification.
    pub(super) fn wait(
        &mut self,
        connection: &mut PgConnection,
        database: &Database,
        at_most: Duration,
    ) -> Result<(), StoreError> {
        let until = Instant::now() + at_most;
        self.check_probe(database);
        if std::mem::take(&mut self.is_woken) {
            return Ok(());
        }
        loop {
            // The sleep comes first, so that continuous notifications do not cause continuous
            // reads.
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(POLL_INTERVAL.min(left));
            let mut is_woken = false;
            for notification in connection.notifications_iter() {
                let payload = notification.map_err(StoreError::new)?.payload;
                if matches!(&self.probe, Probe::Sent { payload: sent, .. } if *sent == payload) {
                    self.arrived(database);
                } else {
                    is_woken = true;
                }
            }
            if left <= POLL_INTERVAL {
                // After a full wait, the caller assumes that no notification arrived. So after a
                // notification at the very end, the next wait returns at once.
                self.is_woken = is_woken;
                return Ok(());
            }
            if is_woken {
                return Ok(());
            }
        }
    }

    fn check_probe(&mut self, database: &Database) {
        match &self.probe {
            Probe::Due(at) if *at <= Instant::now() => self.send_probe(database),
            Probe::Sent { outcome, .. } => match outcome.get() {
                Some(None) => self.probe = Probe::Due(Instant::now() + RETRY_AFTER),
                Some(Some(sent_at)) if sent_at.elapsed() > NOTIFY_TIMEOUT => {
                    self.probe = Probe::Due(Instant::now() + RETRY_AFTER);
                    self.warn_once(database);
                }
                None | Some(Some(_)) => {}
            },
            Probe::Due(_) | Probe::Arrived => {}
        }
    }

    /// Sends the probe on another thread, because connecting may take a long time and must not
    /// delay reads of changes. Does nothing while another thread is still sending a probe for an
    /// earlier connection.
    fn send_probe(&mut self, database: &Database) {
        if self.notifications.is_sending.swap(true, Ordering::AcqRel) {
            return;
        }
        let sending = Sending(Arc::clone(&self.notifications));
        self.probe = match start_sending(database.clone(), sending) {
            Ok(probe) => probe,
            Err(error) => {
                log_unsent(&*error);
                Probe::Due(Instant::now() + RETRY_AFTER)
            }
        };
    }

    fn warn_once(&self, database: &Database) {
        if !self.notifications.is_said.swap(true, Ordering::Relaxed) {
            log::warn!(
                "notifications of {database} do not arrive, probably because of a connection \
                 pooler: polling for key changes several times within max_staleness instead. For \
                 changes within milliseconds, set AppKeysBuilder::listen_url to a direct \
                 connection"
            );
        }
    }

    fn arrived(&mut self, database: &Database) {
        self.probe = Probe::Arrived;
        if self.notifications.is_said.swap(false, Ordering::Relaxed) {
            log::info!("notifications of {database} arrive again");
        }
    }
}

/// A guard that exists while a probe is being sent. Dropping the guard clears `is_sending`.
struct Sending(Arc<Notifications>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.is_sending.store(false, Ordering::Release);
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Starts a thread that sends a unique notification over its own connection.
fn start_sending(database: Database, sending: Sending) -> Result<Probe, AnyError> {
    let payload = random_payload()?;
    let outcome = Outcome::default();
    let (ours, set) = (payload.clone(), Arc::clone(&outcome));
    thread::Builder::new().name("app-key-notify".to_owned()).spawn(move || {
        let sent_at = match send(&database, &ours) {
            Ok(()) => Some(Instant::now()),
            Err(error) => {
                log_unsent(&*error);
                None
            }
        };
        // No other thread sets the outcome.
        let _ = set.set(sent_at);
        drop(sending);
    })?;
    Ok(Probe::Sent { payload, outcome })
}

fn log_unsent(error: &dyn std::error::Error) {
    log::debug!(
        "cannot send a notification to check whether notifications arrive: {error}; trying again \
         later"
    );
}

fn random_payload() -> Result<String, AnyError> {
    let mut payload = String::new();
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    for byte in random {
        write!(payload, "{byte:02x}")?;
    }
    Ok(payload)
}

fn send(database: &Database, payload: &str) -> Result<(), AnyError> {
    let Database::Postgres(url) = database else {
        return Err("listening requires a Postgres URL".into());
    };
    sql_query("SELECT pg_notify($1, $2)")
        .bind::<Text, _>(CHANNEL)
        .bind::<Text, _>(payload)
        .execute(&mut connect(database, url)?)?;
    Ok(())
}
