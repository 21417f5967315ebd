//! The examples as people run them: the process, its output, the lines in its header, and requests
//! over the wire.

mod behind_proxy;
mod cakes;
mod header;
mod middleware;
mod own_pool;
mod own_table;
mod owners;
mod two_key_sets;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Database, http,
    programs::{command, example, root},
};

/// Enough time for `cargo run` to wait for another build and to link.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// The text before each address in the log of actix-web.
const LISTENING: &str = ", listening on: ";

/// A running example, which ends on drop.
pub(crate) struct Example {
    child: Child,
    pub(crate) printed: Arc<Mutex<String>>,
    pub(crate) logged: Arc<Mutex<String>>,
}

impl Example {
    /// Starts the example without waiting for anything.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = collect(child.stdout.take().unwrap());
        let logged = collect(child.stderr.take().unwrap());
        Self { child, printed, logged }
    }

    /// Starts an example with only these settings, on a free port, and waits until it listens.
    fn serving(name: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = example(name);
        command.envs(settings.iter().copied());
        let example = Self::spawn(command.env("BIND", "127.0.0.1:0"));
        example.wait_until_logged(LISTENING);
        example
    }

    /// Returns the address in the log.
    fn listens_at(&self) -> SocketAddr {
        let logged = self.wait_until_logged(LISTENING);
        let (_, place) = logged.split_once(LISTENING).unwrap();
        place.lines().next().unwrap().parse().unwrap()
    }

    /// Waits for these words on standard output and returns all of it.
    pub(crate) fn wait_until_printed(&self, words: &str) -> String {
        self.wait_for(&self.printed, words)
    }

    /// Waits for these words on standard error and returns all of it.
    pub(crate) fn wait_until_logged(&self, words: &str) -> String {
        self.wait_for(&self.logged, words)
    }

    fn wait_for(&self, stream: &Mutex<String>, words: &str) -> String {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            let text = stream.lock().unwrap().clone();
            if text.contains(words) {
                return text;
            }
            assert!(
                Instant::now() < until && !self.has_ended(),
                "{words:?} did not appear: {} {}",
                self.printed.lock().unwrap(),
                self.logged.lock().unwrap()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns whether the example closed its output and all of it was collected.
    fn has_ended(&self) -> bool {
        Arc::strong_count(&self.logged) == 1 && Arc::strong_count(&self.printed) == 1
    }

    /// Returns the number of threads of the example.
    #[cfg(target_os = "linux")]
    pub(crate) fn threads(&self) -> usize {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        threads.unwrap().count()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("bash").args(["-c", &kill]).status().unwrap().success());
    }

    fn wait_for_its_end(&mut self) -> ExitStatus {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap()
                && self.has_ended()
            {
                return status;
            }
            assert!(Instant::now() < until, "the example does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects the output of a stream line by line.
fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::<Mutex<String>>::default();
    let collected = Arc::clone(&text);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).unwrap() > 0 {
            collected.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

/// Runs a line with bash in the root of the repository and returns its output.
pub(crate) fn shell(line: &str, settings: &[(&str, &str)]) -> String {
    let output = command("bash")
        .args(["-euo", "pipefail", "-c", line])
        .current_dir(root())
        .envs(settings.iter().copied())
        .env("NO_PROXY", "*")
        .env("no_proxy", "*")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{line}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs lines of the documentation while the example `hello` runs. The address of the example
/// replaces the documented address. Checks that the lines leave a key in `$KEY` that the service
/// rejects afterwards, and returns the output of the lines.
pub(crate) fn run_beside_hello(
    lines: &str,
    database: &Database,
    run: impl FnOnce(&str) -> String,
) -> String {
    let hello = Example::serving("hello", &[("DATABASE_URL", database.url())]);
    let address = hello.listens_at();
    let lines = lines.replace("127.0.0.1:8080", &address.to_string());
    let printed = run(&format!("{lines}echo \"$KEY\""));
    let key = printed.lines().last().unwrap();
    // Another process revoked the key. The service rejects the key within `max_staleness`, and
    // usually within milliseconds.
    let revoked = Instant::now();
    while http::get_with(address, "/me", key).status != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(5), "the revoked key is still accepted");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(http::get(address, "/me", &[]).status, 401);
    printed
}

/// Fails if the text contains eight successive characters from the hidden part of the key. A hint
/// shows only the prefix and the four characters after it.
pub(crate) fn assert_no_piece_of(key: &str, text: &str) {
    let secret = &key["ak_live_".len() + 4..];
    for start in 0..=secret.len() - 8 {
        let piece = &secret[start..start + 8];
        let line = text.lines().find(|line| line.contains(piece));
        assert_eq!(line, None, "the text contains a piece of the key");
    }
}

/// Returns the names of the examples, which are those of their folders.
fn names() -> Vec<String> {
    let folders = fs::read_dir(root().join("examples")).unwrap();
    let mut names: Vec<String> = folders
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

// A12
#[test]
fn no_program_contains_a_text_like_a_key() {
    for name in names() {
        let bytes = fs::read(example(&name).get_program()).unwrap();
        let prefix = b"ak_live_";
        let keys = bytes
            .windows(prefix.len() + 44)
            .filter(|window| window.starts_with(prefix))
            .filter(|window| window[prefix.len()..].iter().all(u8::is_ascii_alphanumeric))
            .count();
        assert_eq!(keys, 0, "{name}");
    }
}

#[test]
fn the_index_lists_every_example_once() {
    let index = fs::read_to_string(root().join("examples/README.md")).unwrap();
    let mut listed: Vec<&str> =
        index.lines().filter_map(|line| line.strip_prefix("| [`")?.split('`').next()).collect();
    listed.sort_unstable();
    assert_eq!(listed, names());
    for link in index.split("](").skip(1) {
        let link = link.split(')').next().unwrap();
        assert!(root().join("examples").join(link).exists(), "{link}");
    }
}
