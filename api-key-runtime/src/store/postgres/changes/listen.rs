//! Notifications: a wake-up and nothing more.

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
/// How often a connection is looked at for notifications, which takes no query: Diesel has no way
/// to wait for them. Most of what that costs is waking up.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a notification of our own may take.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it is until another one is sent where none arrived.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether notifications arrive. A connection pooler between us and the server takes LISTEN and
/// swallows what comes of it.
///
/// The probe is a notification of our own that is sent over another connection. One sent over this
/// very connection proves nothing: a pooler passes it on with the answer of the statement that sent
/// it, and never any other.
pub(super) struct Listening {
    probe: Probe,
    notifications: Arc<Notifications>,
}

/// What is known of notifications from one connection to the next.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    /// Whether it was said that none arrive.
    is_said: AtomicBool,
    /// Whether a thread is sending one of our own.
    is_sending: AtomicBool,
}

enum Probe {
    /// Not sent before this time.
    Due(Instant),
    Sent {
        payload: String,
        outcome: Outcome,
    },
    Arrived,
}

/// When our notification had been sent; none where it could not be. Not set yet: it is on its way.
type Outcome = Arc<OnceLock<Option<Instant>>>;

impl Listening {
    pub(super) fn start(connection: &mut PgConnection, notifications: Arc<Notifications>) -> Self {
        if let Err(error) = connection.batch_execute(&format!("LISTEN {CHANNEL}")) {
            log::debug!("LISTEN failed: {error}");
        }
        Self { probe: Probe::Due(Instant::now()), notifications }
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
        loop {
            // Before it looks, so that notifications without a pause do not make reads without a
            // pause.
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
            if is_woken || left <= POLL_INTERVAL {
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

    /// Has a thread send it, because to connect may take long, and the reads of changes do not wait
    /// for that. One of an earlier connection's is waited for.
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
                "notifications of {database} do not arrive, as through a connection pooler: changes of keys are seen by asking for \
                 them several times within max_staleness, and not within milliseconds; to have both, name a direct connection \
                 with AppKeysBuilder::listen_url"
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

/// Held while a notification of our own is being sent.
struct Sending(Arc<Notifications>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.is_sending.store(false, Ordering::Release);
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Starts a thread that sends a notification which no one else sends, over a connection of its own.
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
        // Nobody else sets it.
        let _ = set.set(sent_at);
        drop(sending);
    })?;
    Ok(Probe::Sent { payload, outcome })
}

fn log_unsent(error: &dyn std::error::Error) {
    log::debug!("no notification could be sent to see whether it arrives: {error}");
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
        return Err("only a URL of Postgres can be listened to".into());
    };
    sql_query("SELECT pg_notify($1, $2)")
        .bind::<Text, _>(CHANNEL)
        .bind::<Text, _>(payload)
        .execute(&mut connect(database, url)?)?;
    Ok(())
}
