//! Tests of the usage that is recorded when a process ends or is killed. Each test runs this test
//! program as a service in a child process.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer, rt::System};
use api_key_runtime::AppKeys;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use super::{NEVER, TEST_TIMEOUT, count, routes, wait_until};
use crate::support::{Database, database_test, http};

/// Environment variables of the service: its database URL, its flush interval (in milliseconds),
/// and how it ends.
const DATABASE: &str = "USAGE_SERVICE_DATABASE";
const INTERVAL: &str = "USAGE_SERVICE_INTERVAL";
const END: &str = "USAGE_SERVICE_END";

/// How a service ends after its server has stopped.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By recording the usage explicitly.
    Shutdown,
    /// By dropping its last handle at the end of `main`.
    Drop,
}

/// A service in its own process, which is killed on drop.
struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start(database: &Database, interval: Duration, end: End) -> Self {
        let this = std::env::current_exe().unwrap();
        // The service must survive a full disk, which is simulated by a limit on file sizes. By
        // default, the signal `SIGXFSZ` would end the process.
        let line = r#"trap "" XFSZ; exec "$0" "$@""#;
        let mut process = Command::new("bash")
            .args(["-c", line])
            .arg(this)
            .args(["--exact", SERVICE, "--nocapture", "--test-threads", "1"])
            .env(DATABASE, database.migrate().url())
            .env(INTERVAL, interval.as_millis().to_string())
            .env(END, format!("{end:?}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("serving ")?.1.parse().ok())
            .expect("the service did not start");
        // Reads later output, so that a full pipe does not block the service.
        thread::spawn(move || lines.map_while(Result::ok).count());
        Self { process, address }
    }

    fn use_key(&self, key: &str, times: usize) {
        let mut client = http::Client::connect(self.address);
        for _ in 0..times {
            let line = format!("Authorization: Bearer {key}");
            client.send(http::head("GET", "/guarded", &[&line]));
            assert_eq!(client.read(false).unwrap().status, 200);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Sends a signal to the service and waits until the process exits.
    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < TEST_TIMEOUT, "the service does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The full name of the test below.
const SERVICE: &str = "usage::processes::a_service_ends_cleanly_after_a_signal";

/// The other tests run this test as their service.
#[test]
fn a_service_ends_cleanly_after_a_signal() {
    if let Ok(url) = std::env::var(DATABASE) {
        return serve(&url);
    }
    let database = Database::sqlite();
    let (key, _) = database.issue("0.0.0.0");
    let service = Service::start(&database, NEVER, End::Shutdown);
    service.use_key(&key, 1);
    assert!(service.end(Signal::TERM).success());
}

fn serve(url: &str) {
    let setting = |name| std::env::var(name).unwrap();
    let interval = Duration::from_millis(setting(INTERVAL).parse().unwrap());
    let keys = AppKeys::builder().database_url(url).usage_flush_interval(interval).build().unwrap();
    let to_shut_down = (setting(END) == "Shutdown").then(|| keys.clone());
    System::new().block_on(async move {
        let server = HttpServer::new(move || App::new().app_data(keys.clone()).configure(routes))
            .workers(2)
            .shutdown_timeout(5)
            .bind("127.0.0.1:0")
            .unwrap();
        println!("serving {}", server.addrs()[0]);
        server.run().await.unwrap();
    });
    if let Some(keys) = to_shut_down {
        keys.flush_usage(TEST_TIMEOUT).unwrap();
    }
}

// F11
database_test!(after_sigterm_all_usage_is_recorded, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let mut expected = 0;
    for (end, signal) in
        [(End::Shutdown, Signal::TERM), (End::Drop, Signal::TERM), (End::Drop, Signal::INT)]
    {
        let service = Service::start(&database, NEVER, end);
        service.use_key(&key, 200);
        assert_eq!(count(&database, id), expected, "{end:?}");
        expected += 200;
        assert!(service.end(signal).success());
        assert_eq!(count(&database, id), expected, "{end:?}");
    }
});

// F11
database_test!(sigkill_loses_at_most_one_interval_of_usage, |database: Database| {
    let (key, id) = database.issue("0.0.0.0");
    let service = Service::start(&database, Duration::from_millis(500), End::Drop);
    service.use_key(&key, 50);
    wait_until("the usage is recorded", || count(&database, id) == 50);
    service.use_key(&key, 20);
    service.end(Signal::KILL);
    let recorded = count(&database, id);
    assert!((50..=70).contains(&recorded), "{recorded} of 70");
});

// F11
#[test]
fn a_full_disk_rejects_no_key_and_loses_no_usage() {
    let database = Database::sqlite();
    let (key, id) = database.issue("0.0.0.0");
    let service = Service::start(&database, Duration::from_millis(20), End::Shutdown);
    service.use_key(&key, 10);
    wait_until("the usage is recorded", || count(&database, id) == 10);
    // Every write to a file fails, as on a full disk.
    let full = |is_full: bool| {
        let current = is_full.then_some(0);
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(service.pid()), Resource::Fsize, limit).unwrap();
    };
    full(true);
    for _ in 0..20 {
        service.use_key(&key, 2);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count(&database, id), 10, "usage was recorded although the disk is full");
    full(false);
    wait_until("the usage is recorded", || count(&database, id) == 50);
    assert!(service.end(Signal::TERM).success());
    assert_eq!(count(&database, id), 50);
}
