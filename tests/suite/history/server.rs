//! A server in a separate process, which runs one test of this test program.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, get, middleware::DefaultHeaders, post, rt::System,
    web,
};
use api_key_runtime::{
    AppKeys, admin::Admin, health::FeedState, require_app_key, store::DieselStore,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::{Deserialize, Serialize};

use super::{clock::WallClock, event::Handle, stores};
use crate::support::wait_until;

/// The environment variable with the settings of a server process.
const SETTINGS: &str = "TEST_HISTORY_SERVER";
/// The text before the address on standard output.
const SERVING: &str = "serving on ";
/// A short interval, so that a server is often recording usage when it is paused or killed.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a server with a possibly wrong clock waits for the database's time. After this timeout,
/// the server exits and is started again.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The response header that contains the number of the server.
pub(super) const NUMBER_HEADER: &str = "server-number";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) number: usize,
    pub(super) database_url: String,
    pub(super) store: Store,
    pub(super) max_staleness: Duration,
    pub(super) stale_if_error: Duration,
    /// Whether the server's wall clock may be wrong.
    pub(super) has_wrong_clock: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Store {
    /// The library's own store, whose handles can also change keys.
    Own,
    Slow,
    Deaf,
    Lagging,
}

/// A server process, which may be paused. Drop kills the process.
pub(super) struct Process {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Process {
    /// Starts a server and waits until it serves. Returns `None` if it cannot serve, for example
    /// because its database is unavailable.
    ///
    /// On Linux, the server ends when the thread that started it ends.
    pub(super) fn start(
        settings: &Settings,
        clock: Option<&WallClock>,
        log: &Path,
    ) -> Option<Self> {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut program = Command::new(env::current_exe().unwrap());
        program
            .args([test_name(), "--exact", "--nocapture", "--test-threads=1"])
            .env(SETTINGS, serde_json::to_string(settings).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(clock) = clock {
            clock.give_to(&mut program);
        }
        let mut child = program.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once(SERVING)?.1.parse().unwrap()));
        // Discards later output, because a full pipe would block the server.
        thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            child.wait().unwrap();
            return None;
        };
        Some(Self { child, address })
    }

    /// Pauses the server, and returns when every thread has stopped.
    pub(super) fn pause(&self) {
        self.send(Signal::STOP);
        let process = WaitId::Pid(Pid::from_child(&self.child));
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        wait_until("a server is paused", || waitid(process.clone(), stopped).unwrap().is_some());
    }

    pub(super) fn resume(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the full name of the test below, for use on the command line.
fn test_name() -> &'static str {
    let path = concat!(module_path!(), "::a_server_answers_until_it_is_ended");
    path.split_once("::").unwrap().1
}

#[test]
fn a_server_answers_until_it_is_ended() {
    // If the variable is set, this process is a server, and `serve` never returns.
    if let Ok(settings) = env::var(SETTINGS) {
        serve(&serde_json::from_str(&settings).unwrap());
    }
    let database = crate::support::Database::sqlite();
    let (key, id) = database.issue("0.0.0.0");
    let folder = crate::support::own_folder();
    let settings = Settings {
        number: 17,
        database_url: database.url().to_owned(),
        store: Store::Own,
        max_staleness: Duration::from_secs(1),
        stale_if_error: Duration::ZERO,
        has_wrong_clock: false,
    };
    let start = |settings: &Settings| Process::start(settings, None, &folder.join("log"));
    let server = start(&settings).unwrap();
    let ask_at = |server: &Process, handle: Handle| {
        crate::support::http::get_with(server.address, handle.path(), &key)
    };
    let ask = |server: &Process| ask_at(server, Handle::First);
    assert_eq!(ask_at(&server, Handle::Second).status, 200);
    assert_eq!(ask(&server).status, 200);
    assert_eq!(ask(&server).header(NUMBER_HEADER), Some("17"));
    server.pause();
    thread::scope(|scope| {
        let answer = scope.spawn(|| ask(&server).status);
        thread::sleep(Duration::from_millis(100));
        assert!(!answer.is_finished(), "a paused server answered");
        server.resume();
        assert_eq!(answer.join().unwrap(), 200);
    });
    let revoked = crate::support::http::request(
        server.address,
        "POST",
        &format!("/change/{id}/revoke"),
        &["Content-Length: 0"],
    );
    assert_eq!(revoked.status, 200);
    for handle in Handle::ALL {
        assert_eq!(ask_at(&server, handle).status, 401);
    }
    let process = Pid::from_child(&server.child);
    drop(server);
    assert!(rustix::process::test_kill_process(process).is_err());
    let nowhere = Settings { database_url: "/nonexistent/keys.db".to_owned(), ..settings };
    assert!(start(&nowhere).is_none());
    std::fs::remove_dir_all(folder).unwrap();
}

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// The number of changes requested from this process. It selects the administration for the next
/// change.
static CHANGES: AtomicUsize = AtomicUsize::new(0);

/// Changes a key through one of the administrations of this process.
#[post("/change/{id}/{change}")]
async fn change(path: web::Path<(i64, String)>, request: HttpRequest) -> HttpResponse {
    let Some(all) = request.app_data::<Administrations>() else {
        return HttpResponse::NotFound().finish();
    };
    let admin = all.0[CHANGES.fetch_add(1, Ordering::Relaxed) % all.0.len()].clone();
    let changed = web::block(move || match path.1.as_str() {
        "revoke" => admin.revoke(path.0),
        "disable" => admin.disable(path.0),
        "enable" => admin.enable(path.0),
        other => panic!("no such change: {other}"),
    });
    match changed.await.unwrap() {
        Ok(_) => HttpResponse::Ok().finish(),
        Err(error) if error.is_conflict() || error.is_not_found() => {
            HttpResponse::Conflict().finish()
        }
        Err(error) => {
            log::warn!("{error}");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// Serves with these settings until the process ends.
fn serve(settings: &Settings) -> ! {
    end_with_the_starter();
    log_to_standard_error();
    let handles = keys(settings).and_then(|first| Ok([first, keys(settings)?]));
    let handles = handles.unwrap_or_else(|error| {
        log::warn!("{error}");
        process::exit(1);
    });
    if settings.has_wrong_clock && !has_database_time(&handles, settings.max_staleness) {
        log::warn!("timed out waiting for the database's time");
        process::exit(1);
    }
    let number = (NUMBER_HEADER, settings.number.to_string());
    let all = administrations(settings, &handles);
    let [first, second] = handles;
    System::new()
        .block_on(async move {
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(first.clone())
                    .app_data(all.clone())
                    .wrap(DefaultHeaders::new().add(number.clone()))
                    .service(guarded)
                    .service(change)
                    .service(web::scope("/second").app_data(second.clone()).service(guarded))
            })
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")?;
            println!("\n{SERVING}{}", server.addrs()[0]);
            server.run().await
        })
        .unwrap();
    process::exit(0);
}

/// Every administration of this process: one for each handle that can change keys, and a separate
/// administration.
#[derive(Clone)]
struct Administrations(Vec<Admin>);

fn administrations(settings: &Settings, handles: &[AppKeys]) -> Administrations {
    let own = AppKeys::builder().database_url(&settings.database_url).build_admin().unwrap();
    let of_handles = handles.iter().filter_map(|keys| keys.admin().ok().cloned());
    Administrations(of_handles.chain([own]).collect())
}

/// Waits until every handle uses the database's clock, and returns whether that happened in time.
/// Before its first read of changes, a handle uses the local clock, which may be wrong. The first
/// read includes connecting, so the handle's time may be ahead by that long. A later read corrects
/// the time.
fn has_database_time(handles: &[AppKeys], max_staleness: Duration) -> bool {
    let until = Instant::now() + CLOCK_TIMEOUT;
    while handles.iter().any(|keys| keys.health().feed() != FeedState::Fresh) {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(max_staleness);
    true
}

fn keys(settings: &Settings) -> Result<AppKeys, api_key_runtime::Error> {
    let url = settings.database_url.as_str();
    let builder = AppKeys::builder()
        .max_staleness(settings.max_staleness)
        .stale_if_error(Some(settings.stale_if_error).filter(|bound| !bound.is_zero()))
        .usage_flush_interval(USAGE_INTERVAL);
    let builder = match settings.store {
        Store::Own => builder.database_url(url),
        Store::Slow => builder.store(stores::slow(DieselStore::open(url)?)),
        Store::Deaf => builder.store(stores::deaf(DieselStore::open(url)?)),
        Store::Lagging => builder.store(stores::lagging(DieselStore::open(url)?)),
    };
    // A header contains the client IP of a request, so that one machine can act as several callers.
    builder.trusted_proxies(["127.0.0.1/32"]).build()
}

/// Ends this process when its parent process ends, even if the parent is killed. On Linux, this
/// works even while this process is paused.
fn end_with_the_starter() {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
}

fn log_to_standard_error() {
    struct Lines;
    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let time = chrono::Utc::now().format("%H:%M:%S%.3f");
            let line = format!("{time} {} {}\n", record.level(), record.args());
            let _ = io::stderr().write_all(line.as_bytes());
        }

        fn flush(&self) {}
    }
    log::set_logger(&Lines).unwrap();
    log::set_max_level(log::LevelFilter::Info);
}
