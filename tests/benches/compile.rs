//! Measures the compile time that the attribute adds:
//! `cargo bench -p api-key-tests --bench compile`.
//!
//! The benchmark writes two services of 300 handlers that differ only in the attribute. It runs
//! `cargo check` on each in turn, after the dependencies are built, and compares the processor time
//! (user time). On a busy machine, processor time varies less than elapsed time. Each result is one
//! line: `name value unit`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROUNDS: usize = 9;
const HANDLERS: usize = 300;

/// Typical handlers of a service. `KEY` stands for the attribute or nothing, and `@` for a number.
const KINDS: [&str; 6] = [
    r#"#[get("/orders/@/{id}")]
KEY
async fn order_@(id: Path<u64>) -> Result<impl Responder, Error> {
    let order = load(*id).await?;
    Ok(Json(order))
}
"#,
    r#"#[post("/orders/@")]
KEY
async fn create_@(order: Json<Order>, orders: Data<Orders>) -> Result<impl Responder, Error> {
    let mut order = order.into_inner();
    order.id = orders.next().ok_or_else(|| ErrorNotFound("no more orders"))?;
    Ok(HttpResponse::Created().insert_header(("Location", format!("/orders/@/{}", order.id))).json(order))
}
"#,
    r#"#[put("/orders/@/{id}")]
KEY
async fn update_@(id: Path<u64>, order: Json<Order>, orders: Data<Orders>) -> Result<impl Responder, Error> {
    let found = load(*id).await?;
    if found.name == order.name {
        return Err(ErrorNotFound("nothing to change"));
    }
    Ok(Json((found, order.into_inner(), orders.next())))
}
"#,
    r#"#[delete("/orders/@/{id}")]
KEY
async fn delete_@(id: Path<u64>, request: HttpRequest) -> Result<impl Responder, Error> {
    let order = load(*id).await?;
    Ok(format!("{} deleted at {}", order.name, request.path()))
}
"#,
    r#"#[get("/search/@")]
KEY
async fn search_@(Query(wanted): Query<Order>) -> Result<impl Responder, Error> {
    let mut found = Vec::new();
    for id in 0..wanted.id {
        found.push(load(id).await?);
    }
    found.retain(|order| order.name.contains(&wanted.name));
    Ok(Json(found))
}
"#,
    r#"#[get("/count/@")]
KEY
async fn count_@(orders: Data<Orders>) -> HttpResponse {
    HttpResponse::Ok().body(orders.next().unwrap_or_default().to_string())
}
"#,
];

const BEGINNING: &str = r#"#![allow(unused_imports)]
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{
    App, Error, HttpRequest, HttpResponse, HttpServer, Responder, delete, error::ErrorNotFound, get, post, put,
    web::{Data, Json, Path, Query, ServiceConfig},
};
use api_key_runtime::require_app_key;

#[derive(serde::Deserialize, serde::Serialize)]
struct Order {
    id: u64,
    name: String,
}

struct Orders(AtomicU64);

impl Orders {
    fn next(&self) -> Option<u64> {
        self.0.fetch_add(1, Ordering::Relaxed).checked_add(1)
    }
}

async fn load(id: u64) -> Result<Order, Error> {
    if id == 0 { Err(ErrorNotFound("no such order")) } else { Ok(Order { id, name: id.to_string() }) }
}

"#;

fn service(attribute: &str) -> String {
    let mut source = BEGINNING.to_owned();
    let mut registered = String::new();
    for number in 0..HANDLERS {
        let kind = KINDS[number % KINDS.len()]
            .replace("KEY\n", attribute)
            .replace('@', &number.to_string());
        let name = kind.split("async fn ").nth(1).unwrap().split('(').next().unwrap();
        writeln!(registered, "    config.service({name});").unwrap();
        writeln!(source, "{kind}").unwrap();
    }
    writeln!(source, "fn register(config: &mut ServiceConfig) {{\n{registered}}}\n").unwrap();
    source.push_str(
        "fn main() {\n    let orders = Data::new(Orders(AtomicU64::new(0)));\n    \
         drop(HttpServer::new(move || App::new().app_data(orders.clone()).configure(register)));\n}\n",
    );
    source
}

/// Writes a separate workspace with both services, locked to the versions of this repository.
fn write_services(folder: &Path) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::create_dir_all(folder).unwrap();
    fs::copy(ours.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let workspace = "[workspace]\nresolver = \"3\"\nmembers = [\"plain\", \"decorated\"]\n";
    fs::write(folder.join("Cargo.toml"), workspace).unwrap();
    for (name, attribute) in [("plain", ""), ("decorated", "#[require_app_key]\n")] {
        let package = folder.join(name);
        fs::create_dir_all(package.join("src")).unwrap();
        let manifest = format!(
            "[package]\nname = {name:?}\nedition = \"2024\"\n\n[dependencies]\n\
             actix-web = {{ version = \"4\", default-features = false, features = [\"macros\"] }}\n\
             api-key-runtime = {{ path = {:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n",
            ours.join("api-key-runtime").display().to_string(),
        );
        fs::write(package.join("Cargo.toml"), manifest).unwrap();
        fs::write(package.join("src/main.rs"), service(attribute)).unwrap();
    }
}

/// Returns the user time of `cargo check` for one service, in seconds.
fn seconds(folder: &Path, name: &str, incremental: &str) -> f64 {
    let source = folder.join(name).join("src/main.rs");
    let text = fs::read(&source).unwrap();
    fs::write(&source, text).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            r#""$@" || exit 1; times"#,
            "sh",
            env!("CARGO"),
            "check",
            "--quiet",
            "--offline",
            "-p",
            name,
        ])
        .current_dir(folder)
        .env("CARGO_INCREMENTAL", incremental)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The second line has the user time and the system time of the child processes:
    // `0m1.25s 0m0.31s`.
    let times = String::from_utf8(output.stdout).unwrap();
    let user = times.lines().nth(1).unwrap().split(' ').next().unwrap();
    let (minutes, seconds) = user.trim_end_matches('s').split_once('m').unwrap();
    minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compile");
    write_services(&folder);
    for (figure, incremental) in [("check", "0"), ("check_again", "1")] {
        let [mut plain, mut decorated] = [Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            let pair = [
                seconds(&folder, "plain", incremental),
                seconds(&folder, "decorated", incremental),
            ];
            // The first round also builds the dependencies of both services.
            if round > 0 {
                plain.push(pair[0]);
                decorated.push(pair[1]);
            }
        }
        let [plain, decorated] = [plain, decorated].map(median);
        println!("decorated_{figure}_ratio {:.2} x", decorated / plain);
    }
}
