//! The middleware among other middlewares, and the start of a server.

use std::{
    fmt,
    future::Future,
    net::TcpStream,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use actix_cors::Cors;
use actix_web::{
    App, Error, HttpResponse, HttpServer, ResponseError,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::{Method, StatusCode},
    middleware::{Compat, Condition, DefaultHeaders, NormalizePath},
    rt::System,
    web,
};
use api_key_runtime::{AppKey, RequireAppKey};

use super::{ANY_KEY, Touched, bearer, cake};
use crate::support::{Database, Server, fixtures, http, log};

const ORIGIN: &str = "Origin: https://shop.example";

// B12
#[test]
fn a_preflight_needs_no_key_and_rejections_carry_cors_headers() {
    let database = Database::sqlite();
    let (keys, touched) = (database.keys(), Touched::default());
    let (key, _) = database.issue("0.0.0.0");
    let counting = touched.clone();
    let server = Server::built(move || {
        let server = HttpServer::new(move || {
            let cors = Cors::default()
                .allowed_origin("https://shop.example")
                .allow_any_method()
                .allowed_header("authorization");
            let writes = RequireAppKey::new().scopes("cakes:write");
            App::new()
                .app_data(keys.clone())
                .app_data(counting.clone())
                .wrap(ANY_KEY)
                .wrap(cors)
                .route("/cake", web::to(cake))
                .service(web::resource("/writes").wrap(writes).to(cake))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        (server.addrs()[0], server.run())
    });
    let preflight = [
        ORIGIN,
        "Access-Control-Request-Method: DELETE",
        "Access-Control-Request-Headers: authorization",
    ];
    let answer = http::request(server.address, "OPTIONS", "/cake", &preflight);
    assert_eq!(answer.status, 200);
    assert_eq!(touched.count(), 0, "a preflight runs no handler");
    let (good, unknown) = (bearer(&key), bearer(&fixtures::unknown()));
    for (path, lines, status) in [
        ("/cake", &[ORIGIN][..], 401),
        ("/cake", &[ORIGIN, &unknown], 401),
        ("/cake", &[ORIGIN, &good, &good], 400),
        ("/writes", &[ORIGIN, &good], 403),
    ] {
        let answer = http::get(server.address, path, lines);
        assert_eq!(answer.status, status);
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://shop.example"), "{path} {status}");
    }
    // Without `Access-Control-Request-Method`, the request is not a preflight.
    assert_eq!(http::request(server.address, "OPTIONS", "/cake", &[ORIGIN]).status, 401);
    assert_eq!(touched.count(), 0);
    let answer = http::get(server.address, "/cake", &[ORIGIN, &good]);
    assert_eq!((answer.status, touched.count()), (200, 1));
}

// B11
#[test]
fn the_middleware_composes_with_those_of_actix() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let server = Server::built(move || {
        let server = HttpServer::new(move || {
            let layered = web::scope("/layered")
                .wrap(Condition::new(true, ANY_KEY))
                .wrap(Compat::new(ANY_KEY))
                .wrap(DefaultHeaders::new().add(("X-Layer", "outside")))
                .route("", web::get().to(cake));
            App::new()
                .app_data(keys.clone())
                .wrap(DefaultHeaders::new().add(("X-Below", "inside")))
                .wrap(Condition::new(false, ANY_KEY))
                .wrap(NormalizePath::trim())
                .wrap(keys.access_log())
                .service(layered)
                .service(
                    web::scope("/off")
                        .wrap(Condition::new(false, ANY_KEY))
                        .route("", web::get().to(cake)),
                )
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        (server.addrs()[0], server.run())
    });
    for path in ["/layered", "//layered", "/layered/", "/layered//", "/%6cayered"] {
        let answer = http::get(server.address, path, &[]);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("x-layer"), Some("outside"), "{path}");
        assert_eq!(http::get_with(server.address, path, &key).status, 200, "{path}");
    }
    assert_eq!(http::get(server.address, "/off", &[]).status, 200);
    let logged = log::lines_with("\"GET /layered// HTTP/1.1\" 401");
    assert_eq!(logged.len(), 1, "the access log contains rejections");
}

/// The error of another middleware.
#[derive(Debug)]
struct NoTea;

impl fmt::Display for NoTea {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no tea")
    }
}

impl ResponseError for NoTea {
    fn status_code(&self) -> StatusCode {
        StatusCode::IM_A_TEAPOT
    }
}

// D5
#[test]
fn an_inner_middleware_error_stays_and_is_private() {
    let database = Database::sqlite();
    let keys = database.keys();
    let (key, _) = database.issue("0.0.0.0");
    let (inside, outside) = (Touched::default(), Arc::new(Mutex::new(Vec::new())));
    let (counting, seen) = (inside.clone(), Arc::clone(&outside));
    let server = Server::configured(move |config| {
        let (counting, seen) = (counting.clone(), Arc::clone(&seen));
        let scope = web::scope("/tea")
            .app_data(keys.clone())
            .wrap_fn(move |_, _| {
                counting.touch();
                async { Err::<ServiceResponse, Error>(NoTea.into()) }
            })
            .wrap(ANY_KEY)
            .wrap_fn(move |request, service| {
                let (seen, response) = (Arc::clone(&seen), service.call(request));
                async move {
                    let response = response.await;
                    let is_tea = |error: &Error| error.as_error::<NoTea>().is_some();
                    seen.lock().unwrap().push(response.as_ref().err().map(is_tea));
                    response
                }
            });
        config.service(scope.route("", web::get().to(cake)));
    });
    assert_eq!(http::get(server.address, "/tea", &[]).status, 401);
    assert_eq!(inside.count(), 0);
    let answer = http::get_with(server.address, "/tea", &key);
    assert_eq!((answer.status, answer.text().as_str()), (418, "no tea"));
    assert_eq!(answer.header("cache-control"), Some("private"));
    assert_eq!(answer.header("vary"), Some("authorization, x-api-key"));
    assert_eq!(
        *outside.lock().unwrap(),
        [None, Some(true)],
        "a rejection is not an error, and errors of other middlewares keep their type"
    );
}

// D5
#[test]
fn cache_headers_of_the_response_are_kept() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        let own = || async {
            HttpResponse::Ok()
                .insert_header(("Cache-Control", "max-age=60"))
                .insert_header(("Vary", "accept"))
                .finish()
        };
        let upgrade = || async { HttpResponse::SwitchingProtocols().upgrade("echo").finish() };
        config.service(
            web::scope("/own")
                .wrap(ANY_KEY)
                .route("/headers", web::get().to(own))
                .route("/upgrade", web::get().to(upgrade)),
        );
    });
    let key = bearer(&database.issue("0.0.0.0").0);
    let answer = http::get(server.address, "/own/headers", &[&key]);
    assert_eq!(answer.header("cache-control"), Some("max-age=60"));
    let vary: Vec<&str> = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "vary")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(vary, ["accept", "authorization, x-api-key"]);
    let asking = ["Connection: Upgrade", "Upgrade: echo"];
    let answer = http::get(server.address, "/own/upgrade", &asking);
    assert_eq!(answer.status, 401, "the key is checked before the upgrade");
    let answer = http::get(server.address, "/own/upgrade", &[asking[0], asking[1], &key]);
    assert_eq!((answer.status, answer.header("cache-control")), (101, None));
}

// B14
#[test]
fn the_key_is_for_the_handler_of_its_own_request() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        let who = |key: Option<AppKey>| async move { key.map_or(0, |key| key.id()).to_string() };
        config.service(web::scope("/who").wrap(ANY_KEY.optional()).route("", web::get().to(who)));
    });
    let (first, second) = (database.issue("0.0.0.0"), database.issue("0.0.0.0"));
    let mut client = http::Client::connect(server.address);
    for (line, id) in [
        (bearer(&first.0), first.1),
        ("X-Nothing: presented".to_owned(), 0),
        (bearer(&second.0), second.1),
        ("X-Nothing: presented".to_owned(), 0),
    ] {
        client.send(http::head("GET", "/who", &[&line]));
        assert_eq!(client.read(false).unwrap().text(), id.to_string());
    }
}

/// Returns whether the server responds. A server that does not respond closes or refuses the
/// connection.
fn answers(address: std::net::SocketAddr) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(http::head("GET", "/open", &[]).as_bytes())?;
        stream.read(&mut [0; 64])
    };
    ask().is_ok_and(|read| read > 0)
}

/// Starts a server with this guard and returns the result.
fn starting(guard: RequireAppKey) -> std::io::Result<()> {
    log::install();
    let database = Database::sqlite();
    let keys = database.keys();
    System::new().block_on(async move {
        let server = HttpServer::new(move || {
            App::new().app_data(keys.clone()).service(
                web::scope("")
                    .service(web::scope("/deep").wrap(guard).route("", web::to(cake)))
                    .route("/open", web::to(cake)),
            )
        })
        .workers(2)
        .disable_signals()
        .bind("127.0.0.1:0")?;
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        // A server that starts is stopped after its first response.
        let stopping = actix_web::rt::spawn(async move {
            let answered = actix_web::rt::task::spawn_blocking(move || answers(address));
            if answered.await.unwrap() {
                handle.stop(false).await;
            }
        });
        let ended = server.await;
        stopping.abort();
        assert!(TcpStream::connect(address).is_err(), "the server still listens");
        ended
    })
}

// D1
#[test]
fn the_server_does_not_start_with_an_impossible_scope() {
    for (guard, fault) in [
        (RequireAppKey::new().scopes("fine "), "the scope \"\""),
        (RequireAppKey::new().any_scope("k\u{e9}y"), "the scope \"k\u{e9}y\""),
        (RequireAppKey::new().any_scope("fine quo\"te").optional(), "the scope \"quo\\\"te\""),
        (RequireAppKey::new().scopes(""), "RequireAppKey: the value of scopes is empty"),
        (RequireAppKey::new().any_scope(""), "RequireAppKey: the value of any_scope is empty"),
    ] {
        assert!(starting(guard).is_err(), "{fault}");
        let lines = log::lines_with(fault);
        assert!(
            lines.iter().any(|line| line.starts_with("ERROR")
                && line.contains("RequireAppKey")
                && line.ends_with("the server does not start")),
            "{fault}: {lines:?}"
        );
    }
    starting(RequireAppKey::new().scopes("fine")).unwrap();
}

/// A service with a given readiness.
struct Readiness(Poll<Result<(), ()>>);

impl Service<ServiceRequest> for Readiness {
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<ServiceResponse, Error>>>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.map_err(|()| NoTea.into())
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        Box::pin(async { Ok(request.into_response(HttpResponse::Ok())) })
    }
}

#[test]
fn the_middleware_is_ready_when_its_inner_service_is() {
    let mut context = Context::from_waker(Waker::noop());
    let mut ready = |inner| {
        let mut guarded = pin!(ANY_KEY.new_transform(Readiness(inner)));
        let Poll::Ready(Ok(guarded)) = guarded.as_mut().poll(&mut context) else {
            panic!("the transform is not ready at once");
        };
        guarded.poll_ready(&mut context).map_err(|error| error.as_error::<NoTea>().is_some())
    };
    assert_eq!(ready(Poll::Pending), Poll::Pending);
    assert_eq!(ready(Poll::Ready(Ok(()))), Poll::Ready(Ok(())));
    assert_eq!(ready(Poll::Ready(Err(()))), Poll::Ready(Err(true)));
}

// B12
#[test]
fn a_scope_chosen_by_an_actix_guard_is_checked() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        let reads = web::scope("/chosen")
            .guard(actix_web::guard::fn_guard(|context| context.head().method == Method::GET))
            .route("", web::to(cake));
        let others = web::scope("/chosen").wrap(ANY_KEY).route("", web::to(cake));
        config.service(reads).service(others);
    });
    assert_eq!(http::get(server.address, "/chosen", &[]).status, 200);
    for method in ["HEAD", "POST", "OPTIONS"] {
        assert_eq!(http::request(server.address, method, "/chosen", &[]).status, 401);
    }
}
