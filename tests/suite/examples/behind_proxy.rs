//! A service behind a real nginx, with the configuration file of the example.
#![cfg(target_os = "linux")]

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Example, assert_no_piece_of, header, shell};
use crate::support::{
    Database, database_test, free_ports, http, own_folder,
    servers::{installed, server},
    wait_until,
};

const SOURCE: &str = include_str!("../../../examples/behind_proxy/main.rs");
const CONFIGURATION: &str = include_str!("../../../examples/behind_proxy/nginx.conf");

/// Time that nginx may take to start or stop on a busy machine.
const NGINX_TIMEOUT: Duration = Duration::from_secs(30);

/// An nginx in front of a service. Drop stops nginx and removes its files.
struct Nginx {
    address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    fn before(service: SocketAddr) -> Self {
        let folder = own_folder();
        free_ports()
            .find_map(|port| Self::start(&folder, service, ([127, 0, 0, 1], port).into()))
            .expect("a port is free")
    }

    /// Starts nginx, or returns `None` if the port is taken.
    fn start(folder: &PathBuf, service: SocketAddr, address: SocketAddr) -> Option<Self> {
        let configuration = [("127.0.0.1:8080", service), ("127.0.0.1:8000", address)].iter().fold(
            CONFIGURATION.to_owned(),
            |text, (written, here)| {
                assert!(text.contains(written), "{written} is not in nginx.conf");
                text.replace(written, &here.to_string())
            },
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let child = server(&installed("nginx"), folder)
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Self { address, child, folder: folder.clone() };
        let until = Instant::now() + NGINX_TIMEOUT;
        while TcpStream::connect(address).is_err() {
            if nginx.child.try_wait().unwrap().is_some() {
                let log = nginx.log("error.log");
                assert!(log.contains("Address already in use"), "{log}");
                return None;
            }
            assert!(Instant::now() < until, "nginx did not start");
            thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // After SIGTERM, nginx stops its workers. They would survive if the main process were
        // killed.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends a request from this loopback address and returns the body and the status.
fn get_from(caller: &str, address: SocketAddr, target: &str, headers: &[String]) -> String {
    let headers: Vec<String> = headers.iter().map(|header| format!("-H '{header}'")).collect();
    let headers = headers.join(" ");
    let line = format!(
        "curl -sS --interface {caller} -w ' %{{http_code}}' {headers} 'http://{address}{target}'"
    );
    shell(&line, &[])
}

fn serve(database: &Database) -> (Example, Nginx) {
    let example = Example::serving("behind_proxy", &[("DATABASE_URL", database.url())]);
    let nginx = Nginx::before(example.listens_at());
    (example, nginx)
}

// C3
database_test!(behind_nginx_a_key_is_bound_to_the_client_ip, |database: Database| {
    let (example, nginx) = serve(&database);
    let shown = header::paste(
        SOURCE,
        "cargo run --example behind_proxy",
        &[
            ("127.0.0.1:8000", &nginx.address.to_string()),
            ("127.0.0.1:8080", &example.listens_at().to_string()),
        ],
        &[("DATABASE_URL", database.url())],
    );
    let refused = header::NOT_GOOD;
    let answers = format!("me from 127.0.0.2\n{refused}{refused}fresh, ");
    assert!(shown.starts_with(&answers), "{shown}");
    let log = example.wait_until_logged("\"GET /ready HTTP/1.1\" 200");
    let warned = "Unauthorized address trying to use API: 127.0.0.3 (address not allowed, key 1 ";
    assert_eq!(log.matches(warned).count(), 2, "{log}");
});

// C1, C3, C5, C6
database_test!(a_forged_forwarding_header_is_ignored_behind_nginx, |database: Database| {
    let (key, _) = database.issue("127.0.0.2");
    let (example, nginx) = serve(&database);
    let (through, past) = (nginx.address, example.listens_at());
    let bearer = format!("Authorization: Bearer {key}");
    let said = |header: &str| vec![bearer.clone(), format!("{header}: 127.0.0.2")];
    let forwarded = said("X-Forwarded-For");
    for (caller, address, headers, status) in [
        ("127.0.0.2", through, vec![bearer.clone()], 200),
        ("127.0.0.2", past, vec![bearer.clone()], 200),
        ("127.0.0.3", through, vec![bearer.clone()], 401),
        ("127.0.0.3", through, forwarded.clone(), 401),
        ("127.0.0.3", through, said("X-Real-IP"), 401),
        ("127.0.0.3", through, said("Forwarded"), 401),
        ("127.0.0.3", past, forwarded.clone(), 401),
        // A caller with the proxy's own address: every address in the chain is trusted, so there is
        // no client IP.
        ("127.0.0.1", through, vec![bearer.clone()], 401),
    ] {
        let shown = get_from(caller, address, "/whoami", &headers);
        assert!(shown.ends_with(&format!(" {status}")), "{caller} {headers:?}: {shown}");
    }
    let rewritten = vec![bearer, "X-Forwarded-For: 127.0.0.3, junk".to_owned()];
    assert_eq!(
        get_from("127.0.0.2", through, "/whoami", &rewritten),
        "me from 127.0.0.2\n 200".replace("me", "test"),
        "a forged header does not replace the caller's own address"
    );
});

// G2
database_test!(no_access_log_contains_a_key_of_a_request_line, |database: Database| {
    let (key, _) = database.issue("127.0.0.2");
    let (example, nginx) = serve(&database);
    let target = format!("/whoami?token={key}&page=2");
    let shown = get_from("127.0.0.2", nginx.address, &target, &[]);
    assert_eq!(shown, format!("{} 401", header::NO_KEY));
    let log = example.wait_until_logged(" 401 ");
    assert!(log.contains("\"GET /whoami?token=ak_live_[redacted]&page=2 HTTP/1.1\" 401"), "{log}");
    assert_no_piece_of(&key, &log);
    // nginx writes its log after the response.
    wait_until("nginx has logged the request", || nginx.log("access.log").contains("/whoami"));
    let log = nginx.log("access.log");
    assert!(log.contains("127.0.0.2 ["), "{log}");
    assert!(log.contains("\"GET /whoami HTTP/1.1\" 401"), "{log}");
    assert_no_piece_of(&key, &(log + &nginx.log("error.log")));
});

// F11
database_test!(readiness_is_internal_and_sigterm_records_usage, |database: Database| {
    let (key, _) = database.issue("127.0.0.2");
    let (mut example, nginx) = serve(&database);
    let ready = |address| http::get(address, "/ready", &[]).status;
    wait_until("the service is ready", || ready(example.listens_at()) == 200);
    assert_eq!(ready(nginx.address), 404);
    let bearer = [format!("Authorization: Bearer {key}")];
    for _ in 0..3 {
        get_from("127.0.0.2", nginx.address, "/whoami", &bearer);
    }
    example.signal("TERM");
    assert!(example.wait_for_its_end().success());
    let log = example.logged.lock().unwrap().clone();
    assert!(log.contains("stopped") && !log.contains("not recorded"), "{log}");
    assert_eq!(
        database.texts("SELECT use_count || ' ' || last_used_ip FROM api_key_usage"),
        ["3 127.0.0.2"]
    );
});
