//! Counts the processor's instructions for one request:
//! `cargo bench -p api-key-tests --bench instructions`.
//!
//! The program runs itself under callgrind, which counts the instructions of one function. The load
//! of the machine does not change the counts, so a small regression is visible in continuous
//! integration. The counts depend on the compiler and on versions of dependencies.
//!
//! Under callgrind, a program cannot use the processor's instructions for SHA-256, so a digest
//! takes about ten times as many instructions. The ratios therefore leave out the digest.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    env, fs,
    future::Future,
    hint::black_box,
    path::Path,
    pin::pin,
    process::Command,
    task::{Context, Poll, Waker},
};

use actix_web::{
    App, HttpMessage as _, HttpRequest, HttpResponse, dev::Service as _, get, rt::System,
    test::init_service, web::ServiceConfig,
};
use api_key_runtime::{
    AppKeys,
    admin::NewKey,
    require_app_key,
    test_util::{MemoryStore, bench},
};

use self::support::{
    authenticate,
    check::{self, sent},
    figure, floor, heading, request,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// The argument with which the program runs itself.
const MEASURE: &str = "--measure-under-callgrind";
const REQUESTS: u32 = 2000;
/// Number of uncounted requests, after which the key is cached and every buffer exists.
const FIRST: u32 = 10;
/// A pepper of 32 bytes.
const PEPPER: &str = "q1oJ5sVxCw0dQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtM=";

/// The ratio `instructions_guarded_over_bare` at the last update of this list. A ratio depends less
/// on the compiler than a count.
const GUARDED_OVER_BARE: f64 = 1.625;
/// The program fails if the ratio is higher than expected by this factor.
const TOLERANCE: f64 = 1.05;

/// The subjects, each with its instructions per request at the last update of this list.
const SUBJECTS: [(&str, f64); 8] = [
    ("digest", 3525.0),
    ("digest_with_pepper", 6946.0),
    ("floor", 3811.0),
    ("check", 4963.0),
    ("check_with_pepper", 8379.0),
    ("route_bare", 3905.0),
    ("route_limit", 8477.0),
    ("route_guarded", 9871.0),
];

const BODY: &str = "An order for seventeen cakes.\n";

#[get("/route_bare")]
async fn bare() -> &'static str {
    BODY
}

#[get("/route_limit")]
async fn limit(request: HttpRequest) -> HttpResponse {
    check::limit(&request, BODY)
}

#[get("/route_guarded")]
#[require_app_key]
async fn guarded() -> &'static str {
    BODY
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == MEASURE) {
        System::new().block_on(measure(&arguments[at + 1]));
        return;
    }
    heading();
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("# skipped: valgrind is not installed");
        return;
    }
    let counts = SUBJECTS.map(|(subject, expected)| {
        let count = instructions(subject);
        figure(&format!("instructions_{subject}"), count, "instructions");
        println!("#   expected {expected:.0}; {:+.1} %", 100.0 * (count / expected - 1.0));
        count
    });
    let [digest, _, floor_count, check, _, bare_route, limit_route, guarded_route] = counts;
    let [floor_count, check, limit_route, guarded_route] =
        [floor_count, check, limit_route, guarded_route].map(|count| count - digest);
    figure("instructions_check_over_floor", check / floor_count, "x");
    figure("instructions_check_over_bare", check / bare_route, "x");
    figure("instructions_guarded_over_bare", guarded_route / bare_route, "x");
    figure("instructions_guarded_over_limit", guarded_route / limit_route, "x");
    assert!(
        guarded_route / bare_route <= TOLERANCE * GUARDED_OVER_BARE,
        "a guarded route takes more instructions than before: expected {GUARDED_OVER_BARE} times those of a bare route"
    );
}

/// Returns the number of instructions of one request, counted by callgrind in this program.
fn instructions(subject: &str) -> f64 {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{subject}"));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe().unwrap())
        .args([MEASURE, subject])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let profile = fs::read_to_string(&profile).unwrap();
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    total.trim().parse::<f64>().unwrap() / f64::from(REQUESTS)
}

async fn measure(subject: &str) {
    let store = MemoryStore::default();
    let mut settings = AppKeys::builder().store(store.clone());
    if subject.ends_with("_with_pepper") {
        settings = settings.pepper(PEPPER);
    }
    let keys = settings.build().unwrap();
    let issued = keys.make_key(&NewKey::new("bench").allow_any()).unwrap();
    let key = issued.secret.expose_secret().to_owned();
    store.put(issued.record);
    match subject {
        "floor" => measure_floor(&keys, &key).await,
        "check" | "check_with_pepper" => measure_check(&keys, &key).await,
        "digest" | "digest_with_pepper" => measure_digest(&keys, &key),
        route => measure_route(keys, &key, route).await,
    }
}

async fn measure_check(keys: &AppKeys, key: &str) {
    let request = request(keys, key);
    let check = async || {
        assert_eq!(black_box(authenticate(&request).await), Ok(()));
        // A server also clears the extensions at the end of each request.
        request.extensions_mut().clear();
    };
    for _ in 0..FIRST {
        check().await;
    }
    (0..REQUESTS).for_each(|_| counted(|| finished(check())));
}

async fn measure_floor(keys: &AppKeys, key: &str) {
    let request = request(keys, key);
    assert_eq!(authenticate(&request).await, Ok(()));
    (0..REQUESTS).for_each(|_| counted(|| assert!(black_box(floor(keys, &request)))));
}

fn measure_digest(keys: &AppKeys, key: &str) {
    for _ in 0..REQUESTS {
        counted(|| {
            black_box(bench::digest(black_box(keys), black_box(key.as_bytes())));
        });
    }
}

/// Measures a route from the router to the end of the response. Connections and HTTP/1.1 are not
/// included. The application has no other route, because the router tries routes in order.
async fn measure_route(keys: AppKeys, key: &str, route: &str) {
    let one_route = |config: &mut ServiceConfig| match route {
        "route_bare" => _ = config.service(bare),
        "route_limit" => _ = config.service(limit),
        _ => _ = config.service(guarded),
    };
    // Afterwards the key is cached.
    assert_eq!(authenticate(&request(&keys, key)).await, Ok(()));
    let app = init_service(App::new().app_data(keys).configure(one_route)).await;
    for number in 0..FIRST + REQUESTS {
        let request = sent(key).uri(&format!("/{route}")).to_request();
        let call = || assert!(finished(app.call(request)).unwrap().status().is_success());
        if number < FIRST { call() } else { counted(call) }
    }
}

/// Runs the closure. Callgrind selects this function by name and counts its instructions.
#[inline(never)]
fn counted(request: impl FnOnce()) {
    request();
}

/// Returns the output of a future that is ready at the first poll.
fn finished<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the request waits"),
    }
}
