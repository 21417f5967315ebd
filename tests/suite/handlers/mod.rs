//! Handlers of every shape that actix-web accepts, each served with the attribute over a real
//! connection. Without a valid key, the request is rejected and the body of the handler does not
//! run. With a valid key, the handler runs once, and its return value becomes the response.

mod generics;
mod hygiene;
mod made;
mod neighbours;
mod orders;
mod returns;
mod shapes;
mod slow_bodies;
mod sockets;
mod spans;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{LazyLock, Mutex},
};

use actix_web::web::ServiceConfig;

use crate::support::{Database, Server, fixtures, http};

static RUNS: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);

/// Records a run of the handler on this path. Every handler calls this function, and most return
/// its result, the path.
fn ran(path: &str) -> String {
    *RUNS.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    path.to_owned()
}

/// Returns how often the handler on this path ran.
fn runs(path: &str) -> usize {
    RUNS.lock().unwrap().get(path).copied().unwrap_or_default()
}

/// A request to a guarded route, and the expected response with a valid key.
#[derive(Clone)]
struct Case {
    method: &'static str,
    /// The path that the handler records.
    path: &'static str,
    target: &'static str,
    lines: Vec<&'static str>,
    body: &'static str,
    status: u16,
    answer: String,
}

/// Returns a case for `GET` whose response is 200 with the path.
fn get(path: &'static str) -> Case {
    case("GET", path)
}

fn case(method: &'static str, path: &'static str) -> Case {
    Case {
        method,
        path,
        target: path,
        lines: Vec::new(),
        body: "",
        status: 200,
        // A response to HEAD has no body.
        answer: if method == "HEAD" { "" } else { path }.to_owned(),
    }
}

impl Case {
    /// Requests this target instead of the recorded path.
    fn at(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    fn line(mut self, line: &'static str) -> Self {
        self.lines.push(line);
        self
    }

    fn sends(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    fn answers(mut self, status: u16, answer: impl Into<String>) -> Self {
        self.status = status;
        self.answer = answer.into();
        self
    }

    fn ask(&self, address: SocketAddr, key: Option<&str>) -> http::Response {
        // Sends the key as `X-API-Key`, which actix-web does not hide when it prints a request. The
        // search for leaks therefore detects a printed request.
        let key = key.map(|key| format!("X-API-Key: {key}"));
        let length = format!("Content-Length: {}", self.body.len());
        let mut lines = self.lines.clone();
        lines.extend(key.as_deref());
        if !self.body.is_empty() {
            lines.push(&length);
        }
        let mut client = http::Client::connect(address);
        client.send(http::head(self.method, self.target, &lines) + self.body);
        client.read(self.method == "HEAD").expect("the connection was closed without a response")
    }

    /// Checks that the handler does not run without a valid key. With a valid key, the handler must
    /// run once and return the expected response.
    fn is_guarded(&self, address: SocketAddr, key: &str) {
        let Self { method, target, .. } = self;
        let before = runs(self.path);
        for (what, presented) in [("no key", None), ("an unknown key", Some(fixtures::unknown()))] {
            let rejection = self.ask(address, presented.as_deref());
            assert_eq!(rejection.status, 401, "{method} {target} with {what}");
            assert!(
                rejection.header("www-authenticate").is_some(),
                "{method} {target} with {what}"
            );
        }
        assert_eq!(runs(self.path), before, "{method} {target} ran without a key");
        let answer = self.ask(address, Some(key));
        assert_eq!(
            (answer.status, answer.text()),
            (self.status, self.answer.clone()),
            "{method} {target} with a valid key"
        );
        assert_eq!(runs(self.path), before + 1, "{method} {target} with a valid key");
    }
}

/// Serves these routes with a new key, and checks that each case is guarded.
fn guarded(routes: fn(&mut ServiceConfig), cases: &[Case]) {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), routes);
    let (key, _) = database.issue("0.0.0.0");
    for case in cases {
        case.is_guarded(server.address, &key);
    }
}
