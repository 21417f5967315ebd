//! A service behind nginx: client IPs, access log, readiness and shutdown.
//!
//! ```sh
//! DATABASE_URL=behind_proxy.db cargo run --example behind_proxy
//! mkdir -p target/nginx && nginx -p target/nginx -c "$PWD/examples/behind_proxy/nginx.conf"
//! ```
//!
//! The `DATABASE_URL` may name a Postgres database instead. Run the second line in another
//! terminal. On Debian, the package `nginx-light` installs nginx as `/usr/sbin/nginx`. Then run in
//! a third terminal, with the same `DATABASE_URL`:
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
//! The first request is accepted. The next two requests get 401, because the key allows only
//! 127.0.0.2. The address that the client puts into `X-Forwarded-For` has no effect. The service
//! trusts 127.0.0.1, because nginx connects from this address. The requests therefore come from
//! other loopback addresses, which `--interface` sets on Linux.

use std::{env, error::Error, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, get};
use api_key_runtime::{AppKey, AppKeys, require_app_key};

/// The seconds that running requests have to finish after SIGTERM. By default, Docker kills the
/// process after 10 seconds, and Kubernetes after 30 seconds. [`CLOSE_TIMEOUT`] leaves a reserve of
/// two seconds.
const SHUTDOWN_TIMEOUT: u64 = 5;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

#[get("/whoami")]
#[require_app_key]
async fn whoami(key: AppKey) -> String {
    let from = key.client_ip().map_or("nowhere".to_owned(), |ip| ip.to_string());
    format!("{} from {from}\n", key.name())
}

/// Reports to the load balancer whether the service is ready for requests. nginx does not forward
/// requests to this route.
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
        // Trusts only the address of the proxy and not its whole network, because anyone with a
        // trusted address can choose the client IP of a request.
        .trusted_proxies(["127.0.0.1/32"])
        // The service reads this forwarding header and no other. nginx.conf sets this header.
        .forwarded_header("X-Forwarded-For")
        .build()?;
    let bind = env::var("BIND").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let shared = keys.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .service(whoami)
            .service(ready)
            // Redacts every key in the request line, even if a caller sent the key in the wrong
            // place.
            .wrap(shared.access_log())
    })
    .shutdown_timeout(SHUTDOWN_TIMEOUT);
    // After SIGTERM, `run` returns once the running requests have ended or the timeout has passed.
    server.bind(bind)?.run().await?;
    keys.close(CLOSE_TIMEOUT)?;
    log::info!("stopped");
    Ok(())
}
