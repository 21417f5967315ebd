//! A service behind nginx: client IPs, access log, readiness and shutdown.
//!
//! ```sh
//! DATABASE_URL=behind_proxy.db cargo run --example behind_proxy
//! mkdir -p target/nginx && nginx -p target/nginx -c "$PWD/examples/behind_proxy/nginx.conf"
//! ```
//!
//! or with the `DATABASE_URL` of a Postgres. Run the second line in another terminal (on Debian
//! nginx is in `/usr/sbin`, package `nginx-light`). In a third terminal, with the same
//! `DATABASE_URL`:
//!
//! ```sh
//! KEY=$(cargo app-key issue --name me --ip 127.0.0.2)
//! curl -sS --interface 127.0.0.2 -H "Authorization: Bearer $KEY" http://127.0.0.1:8000/whoami
//! curl -sS --interface 127.0.0.3 -H "Authorization: Bearer $KEY" http://127.0.0.1:8000/whoami
//! curl -sS --interface 127.0.0.3 -H "Authorization: Bearer $KEY" -H "X-Forwarded-For: 127.0.0.2" \
//!   http://127.0.0.1:8000/whoami
//! curl -sS http://127.0.0.1:8080/ready
//! ```
//!
//! The first request is accepted. The next two get 401, because the key allows only one address.
//! The header that the client sends is ignored. nginx has 127.0.0.1 here, so clients on the same
//! machine use another address of loopback (`--interface`, on Linux).

use std::{env, error::Error, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, get};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

/// The time for running requests after SIGTERM. Docker kills the process after 10 s, and Kubernetes
/// after 30 s.
const SHUTDOWN_SECONDS: u64 = 5;

#[get("/whoami")]
#[require_app_key]
async fn whoami(key: AppKey) -> String {
    let from = key.client_ip().map_or("nowhere".to_owned(), |ip| ip.to_string());
    format!("{} from {from}\n", key.name())
}

/// Returns whether the service can take requests, for the load balancer. nginx does not forward it.
#[get("/ready")]
async fn ready(keys: AppKeys) -> HttpResponse {
    let health = keys.health();
    let mut answer =
        if health.is_ready() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.body(format!("{health}\n"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let keys = AppKeys::builder()
        .env()?
        .migrate()?
        // The address of the proxy and not its network: anyone with a trusted address can choose
        // the client IP of a request.
        .trusted_proxies(["127.0.0.1/32"])
        // The only forwarding header that is read, and the one that nginx.conf sets.
        .forwarded_header("X-Forwarded-For")
        .build()?;
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let shared = keys.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .service(whoami)
            .service(ready)
            // Redacts keys in the request line, wherever a caller put them.
            .wrap(shared.access_log())
    })
    .shutdown_timeout(SHUTDOWN_SECONDS);
    // SIGTERM stops the server after the running requests.
    server.bind(bind)?.run().await?;
    keys.close(Duration::from_secs(SHUTDOWN_SECONDS))?;
    log::info!("stopped");
    Ok(())
}
