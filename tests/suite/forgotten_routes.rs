//! `assert_protected` catches a forgotten route of every kind, passes what is guarded, and lists what it cannot see.

use std::{
    env, fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use actix_cors::Cors;
use actix_files::Files;
use actix_web::{
    App, HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse, fn_service},
    get, guard,
    http::Method,
    middleware::{DefaultHeaders, ErrorHandlerResponse, ErrorHandlers, Logger, NormalizePath},
    post, routes, web,
};
use api_key_runtime::{
    AppKey, require_app_key,
    test_util::{
        Exceptions, ProtectionReport, TestKeys, assert_protected, protection_report, public,
    },
};

#[require_app_key]
async fn guarded() -> &'static str {
    "for callers with a key"
}

async fn forgotten() -> &'static str {
    "for anyone"
}

#[require_app_key(optional)]
async fn optional(key: Option<AppKey>) -> String {
    format!("{}", key.is_some())
}

#[get("/service/{id}")]
#[require_app_key]
async fn guarded_service(id: web::Path<u64>) -> String {
    id.to_string()
}

#[get("/service")]
async fn forgotten_service() -> &'static str {
    "for anyone"
}

#[post("/report")]
#[require_app_key]
async fn guarded_report() -> &'static str {
    "for callers with a key"
}

#[routes]
#[get("/several")]
#[post("/several/again")]
async fn forgotten_routes() -> &'static str {
    "for anyone"
}

trait Served:
    ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<Self::Body>,
        Error = actix_web::Error,
        InitError = (),
    > + 'static
{
    type Body: actix_web::body::MessageBody + 'static;
}

impl<T, B> Served for T
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    B: actix_web::body::MessageBody + 'static,
{
    type Body = B;
}

async fn report<T: Served>(app: App<T>, exceptions: Exceptions) -> ProtectionReport {
    let app = app.app_data(TestKeys::new().app_keys);
    protection_report(app, exceptions).await
}

/// What is said of each fault: its first line.
async fn faults<T: Served>(app: App<T>, exceptions: Exceptions) -> Vec<String> {
    let report = report(app, exceptions).await;
    let first = |fault: &String| fault.lines().next().unwrap().to_owned();
    report.faults().iter().map(first).collect()
}

const OPEN: &str = "answered 200 OK to a caller without a key";

/// That exactly this is open, in an application that is guarded besides.
async fn assert_open<T: Served>(app: App<T>, routes: &[&str]) {
    let app = app.service(guarded_service).service(guarded_report);
    let expected: Vec<String> = routes
        .iter()
        .map(|route| format!("{route} {OPEN}"))
        .collect();
    assert_eq!(faults(app, public([])).await, expected);
}

// B15
#[actix_web::test]
async fn an_application_that_is_guarded_throughout_passes() {
    let app = App::new()
        .service(guarded_service)
        .service(guarded_report)
        .route("/route", web::put().to(guarded))
        .service(web::resource("/any").to(guarded))
        .service(
            web::scope("/scope")
                .service(guarded_service)
                .route("", web::get().to(guarded))
                .service(web::scope("/inner/{x}").route("/leaf", web::get().to(guarded)))
                .default_service(web::to(guarded)),
        )
        .service(web::resource(["/a/{id:\\d+}", "/b/{tail}*"]).route(web::patch().to(guarded)));
    let report = report(app, public([])).await;
    assert_eq!(report.faults(), [""; 0]);
    assert_eq!(report.unseen(), [""; 0]);
    let expected = [
        "GET /a/{id:\\d+}",
        "* /any",
        "PATCH /b/{tail}*",
        "POST /report",
        "PUT /route",
        "* /scope",
        "* /scope/<unmatched>",
        "GET /scope/inner/{x}/leaf",
        "GET /scope/service/{id}",
        "GET /service/{id}",
    ];
    let mut protected = report.protected().to_vec();
    protected.sort();
    let mut expected = expected
        .map(|line| line.replacen("GET /a", "PATCH /a", 1))
        .to_vec();
    expected.sort();
    assert_eq!(protected, expected);
}

// B15
#[actix_web::test]
async fn a_forgotten_service_is_caught() {
    assert_open(App::new().service(forgotten_service), &["GET /service"]).await;
}

// B15
#[actix_web::test]
async fn forgotten_routes_of_one_handler_are_all_caught() {
    assert_open(
        App::new().service(forgotten_routes),
        &["GET /several", "POST /several/again"],
    )
    .await;
}

// B15
#[actix_web::test]
async fn a_forgotten_scope_is_caught() {
    let scope = web::scope("/scope").service(forgotten_service);
    assert_open(App::new().service(scope), &["GET /scope/service"]).await;
}

// B15
#[actix_web::test]
async fn a_forgotten_route_of_a_scope_in_a_scope_is_caught() {
    let inner = web::scope("/inner")
        .route("/leaf", web::get().to(forgotten))
        .route("/other", web::get().to(guarded));
    let scope = web::scope("/of/{tenant}").service(inner);
    assert_open(App::new().service(scope), &["GET /of/{tenant}/inner/leaf"]).await;
}

// B15
#[actix_web::test]
async fn a_forgotten_resource_is_caught_by_its_method() {
    let resource = web::resource("/resource")
        .route(web::get().to(guarded))
        .route(web::delete().to(forgotten));
    assert_open(App::new().service(resource), &["DELETE /resource"]).await;
}

// B15
#[actix_web::test]
async fn a_forgotten_route_is_caught() {
    let app = App::new().route("/route", web::post().to(forgotten));
    assert_open(app, &["POST /route"]).await;
    let scope = web::scope("/scope").route("/route", web::post().to(forgotten));
    assert_open(App::new().service(scope), &["POST /scope/route"]).await;
}

// B15
#[actix_web::test]
async fn a_forgotten_route_for_every_method_is_caught() {
    let app = App::new().service(web::resource("/any").to(forgotten));
    assert_open(app, &["* /any"]).await;
    assert_open(App::new().route("/any", web::to(forgotten)), &["* /any"]).await;
}

// B15
#[actix_web::test]
async fn a_route_for_every_method_is_caught_behind_one_that_is_guarded() {
    let resource = web::resource("/x")
        .route(web::get().to(guarded))
        .route(web::route().to(forgotten));
    assert_open(
        App::new().service(resource),
        &["HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE /x"],
    )
    .await;
}

// B15
#[actix_web::test]
async fn a_forgotten_route_of_a_method_of_its_own_is_caught() {
    let method = Method::from_bytes(b"PURGE").unwrap();
    let app = App::new().route("/cache", web::method(method).to(forgotten));
    assert_open(app, &["PURGE /cache"]).await;
}

// B15
#[actix_web::test]
async fn a_forgotten_route_in_a_configuration_is_caught() {
    fn configuration(config: &mut web::ServiceConfig) {
        config.route("/configured", web::get().to(forgotten));
    }
    assert_open(App::new().configure(configuration), &["GET /configured"]).await;
    let scope = web::scope("/scope").configure(configuration);
    assert_open(App::new().service(scope), &["GET /scope/configured"]).await;
}

// B15
#[actix_web::test]
async fn a_forgotten_default_service_is_caught() {
    let app = App::new().default_service(web::to(forgotten));
    assert_open(app, &["* /<unmatched>"]).await;
    let scope = web::scope("/scope/{id}").default_service(web::to(forgotten));
    assert_open(App::new().service(scope), &["* /scope/{id}/<unmatched>"]).await;
    let resource = web::resource("/x")
        .route(web::get().to(guarded))
        .default_service(web::to(forgotten));
    assert_open(
        App::new().service(resource),
        &["HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE /x"],
    )
    .await;
}

// B15
#[actix_web::test]
async fn a_forgotten_default_service_is_caught_for_the_one_method_it_answers() {
    let only_post = async |request: HttpRequest| {
        if request.method() == Method::POST {
            HttpResponse::Ok().body("for anyone")
        } else {
            HttpResponse::NotFound().finish()
        }
    };
    let app = App::new().default_service(web::to(only_post));
    assert_open(app, &["POST /<unmatched>"]).await;
}

// B15
#[actix_web::test]
async fn a_default_service_that_is_guarded_hides_no_scope_that_is_open() {
    let app = App::new()
        .default_service(web::to(guarded))
        .service(web::scope("/open").default_service(web::to(forgotten)))
        .service(web::scope("/closed").route("/x", web::get().to(guarded)));
    assert_open(app, &["* /open/<unmatched>"]).await;
}

/// A folder with a file in it.
fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("forgotten-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("index.html"), "for anyone").unwrap();
    folder
}

type MakeFiles = fn(&str, &Path) -> Files;

// B15
#[actix_web::test]
async fn forgotten_files_are_caught() {
    let folder = folder("plain");
    let kinds: [MakeFiles; 4] = [
        |mount, folder| Files::new(mount, folder),
        |mount, folder| Files::new(mount, folder).index_file("index.html"),
        |mount, folder| Files::new(mount, folder).show_files_listing(),
        // Only what is not there is refused.
        |mount, folder| Files::new(mount, folder).default_handler(web::to(guarded)),
    ];
    for (number, files) in kinds.into_iter().enumerate() {
        let apps = [
            ("/static", App::new().service(files("/static", &folder))),
            ("/", App::new().service(files("/", &folder))),
            (
                "/scope/static",
                App::new().service(web::scope("/scope").service(files("/static", &folder))),
            ),
            (
                "/files",
                App::new().service(web::scope("/files").service(files("", &folder))),
            ),
        ];
        for (path, app) in apps {
            let faults = faults(app.service(guarded_service), public([])).await;
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.contains(&format!(" {path} "))),
                "kind {number} at {path}: {faults:?}"
            );
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

// B15
#[actix_web::test]
async fn files_that_refuse_only_what_is_not_there_are_not_passed() {
    let folder = folder("default");
    let files = Files::new("/static", &folder)
        .index_file("no-index.html")
        .default_handler(web::to(guarded));
    let others = "POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE";
    let named: Vec<String> = others
        .split(", ")
        .map(|method| format!("{method} /static"))
        .collect();
    let named = named.iter().map(|route| (route.as_str(), "not allowed"));
    let faults = faults(App::new().service(files), public(named)).await;
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}")
    };
    assert!(
        fault.starts_with("* /static serves what is below a path, as files do"),
        "{fault}"
    );
    fs::remove_dir_all(folder).unwrap();
}

// B15
#[actix_web::test]
async fn a_forgotten_redirect_is_caught() {
    let app = App::new().service(web::redirect("/old", "/new"));
    assert_eq!(
        faults(app, public([])).await,
        ["* /old answered 307 Temporary Redirect to a caller without a key"]
    );
}

// B15
#[actix_web::test]
async fn a_route_behind_actix_webs_own_guards_is_called_with_what_they_ask_for() {
    let app = App::new()
        .service(
            web::resource("/versioned")
                .route(
                    web::get()
                        .guard(guard::Header("x-version", "2"))
                        .to(forgotten),
                )
                .route(web::get().to(guarded)),
        )
        .service(
            web::scope("/hosted")
                .guard(guard::Host("admin.example.com"))
                .route("/x", web::get().to(forgotten)),
        )
        .service(
            web::resource("/page")
                .guard(guard::Acceptable::new("text/html".parse().unwrap()))
                .to(guarded),
        );
    assert_open(app, &["GET /hosted/x", "GET /versioned"]).await;
}

// B15
#[actix_web::test]
async fn a_route_behind_a_guard_of_ones_own_is_listed_as_unseen_and_fails() {
    let app = || {
        App::new().service(
            web::resource("/beta")
                .route(
                    web::get()
                        .guard(guard::fn_guard(|context| {
                            context.head().uri.query() == Some("x")
                        }))
                        .to(forgotten),
                )
                .route(web::get().to(guarded)),
        )
    };
    let found = faults(app(), public([])).await;
    let [fault] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(fault.starts_with("GET /beta was not seen"), "{fault}");
    assert!(fault.contains("FnGuard"), "{fault}");
    let exceptions = public([]).unseen([("GET /beta", "tests/beta.rs calls it")]);
    let report = report(app(), exceptions).await;
    assert_eq!(report.faults(), [""; 0]);
    assert_eq!(report.unseen(), ["GET /beta (tests/beta.rs calls it)"]);
}

// B15
#[actix_web::test]
async fn a_scope_behind_a_guard_of_ones_own_is_listed_as_unseen_and_fails() {
    let scope = web::scope("/beta")
        .guard(guard::fn_guard(|_| false))
        .route("/x", web::get().to(forgotten));
    let found = faults(App::new().service(scope), public([])).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("* /beta was not seen"), "{found:?}");
}

// B15
#[actix_web::test]
async fn being_unseen_excuses_nothing_that_is_seen_to_be_open() {
    let app = App::new().service(
        web::resource("/beta").route(web::get().guard(guard::fn_guard(|_| true)).to(forgotten)),
    );
    let exceptions = public([]).unseen([("GET /beta", "tests/beta.rs calls it")]);
    assert_eq!(faults(app, exceptions).await, [format!("GET /beta {OPEN}")]);
}

// B15
#[actix_web::test]
async fn a_pattern_that_no_path_is_known_for_fails_until_one_is_named() {
    const PATTERN: &str = r"/code/{code:ck-\d{3}[xyz]}";
    let app = || App::new().route(PATTERN, web::get().to(forgotten));
    let found = faults(app(), public([])).await;
    assert!(
        found[0].ends_with("was not seen: no path is known that this pattern matches"),
        "{found:?}"
    );
    let sample = |path: &str| public([]).sample(PATTERN, path);
    assert_eq!(
        faults(app(), sample("/code/ck-123x")).await,
        [format!("GET {PATTERN} {OPEN}")]
    );
    assert_eq!(
        faults(app(), sample("/code/1")).await,
        [format!(
            "the sample \"/code/1\" is no path that the pattern {PATTERN} matches"
        )]
    );
    let app = App::new().service(guarded_service);
    let stale = faults(app, sample("/code/ck-123x")).await;
    assert!(stale[0].contains("no route has this pattern"), "{stale:?}");
}

// B15
#[actix_web::test]
async fn parameters_get_values_that_their_expressions_match() {
    let app = App::new()
        .route("/a/{id:\\d+}/{word:[a-z]{3,}}", web::get().to(forgotten))
        .route("/b/{tail:.*}", web::get().to(forgotten))
        .route("/c/{tail}*", web::get().to(forgotten))
        .route("/d/{name}.{ending:txt|png}", web::get().to(forgotten));
    assert_open(
        app,
        &[
            "GET /a/{id:\\d+}/{word:[a-z]{3,}}",
            "GET /b/{tail:.*}",
            "GET /c/{tail}*",
            "GET /d/{name}.{ending:txt|png}",
        ],
    )
    .await;
}

// B15
#[actix_web::test]
async fn a_route_is_reached_past_others_that_take_some_of_its_paths() {
    let app = App::new()
        .route("/x/{id:\\d+}", web::get().to(guarded))
        .route("/x/probe", web::get().to(guarded))
        .route("/x/{name}", web::get().to(forgotten));
    assert_open(app, &["GET /x/{name}"]).await;
}

// B15
#[actix_web::test]
async fn a_resource_before_a_scope_that_takes_any_path_passes() {
    let app = App::new()
        .service(guarded_service)
        .service(guarded_report)
        .service(web::scope("/{tenant}").route("/x", web::get().to(guarded)));
    assert_eq!(faults(app, public([])).await, [""; 0]);
}

// B15
#[actix_web::test]
async fn a_route_that_another_takes_every_request_of_is_not_passed_for_its_refusal() {
    let app = App::new()
        .service(web::resource("/{any}").to(guarded))
        .route("/x", web::get().to(forgotten));
    let found = faults(app, public([])).await;
    assert_eq!(
        found,
        ["GET /x was not reached: /{any} took every path that was tried"]
    );
}

// B15
#[actix_web::test]
async fn a_route_of_a_scope_that_another_scope_hides_is_not_passed() {
    let app = App::new()
        .service(web::scope("/x").route("/a", web::get().to(guarded)))
        .service(web::scope("/x").route("/b", web::get().to(forgotten)));
    let found = faults(app, public([])).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("GET /x/b was not reached"),
        "{found:?}"
    );
}

// B15
#[actix_web::test]
async fn a_404_or_a_401_of_the_handlers_own_is_no_refusal() {
    async fn none() -> Option<String> {
        None
    }
    async fn own_401() -> impl Responder {
        HttpResponse::Unauthorized()
            .insert_header(("www-authenticate", "Bearer realm=\"api\""))
            .finish()
    }
    let app = App::new()
        .route("/none", web::get().to(none))
        .route("/own", web::get().to(own_401))
        .service(
            web::resource("/mixed")
                .route(web::get().to(guarded))
                .route(web::route().to(none)),
        );
    assert_eq!(
        faults(app, public([])).await,
        [
            "HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE /mixed answered 404 Not Found to a caller without a key",
            "GET /none answered 404 Not Found to a caller without a key",
            "GET /own answered 401 Unauthorized to a caller without a key",
        ]
    );
}

// B15
#[actix_web::test]
async fn a_handler_that_only_takes_the_key_or_the_body_is_no_refusal() {
    async fn takes_key(key: AppKey) -> String {
        key.name().to_owned()
    }
    async fn takes_body(body: web::Json<Vec<String>>) -> String {
        body.concat()
    }
    let app = App::new()
        .route("/body", web::post().to(takes_body))
        .route("/key", web::get().to(takes_key));
    assert_eq!(
        faults(app, public([])).await,
        [
            "POST /body answered 400 Bad Request to a caller without a key",
            "GET /key answered 500 Internal Server Error to a caller without a key",
        ]
    );
}

// B15
#[actix_web::test]
async fn what_an_optional_attribute_lets_through_is_to_be_named_as_public() {
    let app = || App::new().route("/menu", web::get().to(optional));
    assert_eq!(
        faults(app(), public([])).await,
        ["GET /menu lets a caller without a key through: #[require_app_key(optional)]"]
    );
    let exceptions = public([("GET /menu", "prices are shown to bakers only")]);
    assert_eq!(faults(app(), exceptions).await, [""; 0]);
}

// B15
#[actix_web::test]
async fn what_is_named_as_public_with_a_reason_passes() {
    let app = App::new()
        .service(forgotten_service)
        .service(guarded_service)
        .service(web::resource("/any").to(forgotten))
        .default_service(web::to(forgotten));
    let exceptions = public([
        ("GET /service", "the load balancer asks it"),
        ("* /any", "a form for everyone"),
        ("* /<unmatched>", "a page that says so"),
    ]);
    let report = report(app, exceptions).await;
    assert_eq!(report.faults(), [""; 0]);
    assert_eq!(
        report.public(),
        [
            "* /<unmatched> (a page that says so)",
            "* /any (a form for everyone)",
            "GET /service (the load balancer asks it)",
        ]
    );
}

// B15
#[actix_web::test]
async fn a_public_name_covers_its_own_method_alone() {
    let resource = web::resource("/x")
        .route(web::get().to(forgotten))
        .route(web::delete().to(forgotten));
    let exceptions = public([("GET /x", "a page for everyone")]);
    assert_eq!(
        faults(App::new().service(resource), exceptions).await,
        [format!("DELETE /x {OPEN}")]
    );
}

// B15
#[actix_web::test]
async fn a_name_that_fits_nothing_or_is_refused_or_has_no_reason_fails() {
    let app = App::new()
        .service(guarded_service)
        .service(forgotten_service);
    let exceptions = public([
        ("GET /service", "the load balancer asks it"),
        ("GET /gone", "it was public once"),
        ("POST /service", "it never took this method"),
        ("GET /service/{id}", "it is guarded by now"),
        ("GET /service/", " "),
        ("/service", "no method"),
    ])
    .unseen([("GET /service", "it is seen")]);
    let faults = faults(app, exceptions).await;
    let expected = [
        "GET /service/ is named as an exception without a reason",
        "\"/service\" names no route",
        "GET /gone is named as public, but nothing answers there",
        "POST /service is named as public, but nothing answers there",
        "GET /service/{id} is named as public, but refuses a caller without a key",
        "GET /service is named as unseen, but there is nothing there that could not be seen",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\n{expected}");
    }
}

// B15
#[actix_web::test]
async fn an_application_without_keys_is_told_so() {
    let app = App::new().service(guarded_service).service(guarded_report);
    let report = protection_report(app, public([])).await;
    assert_eq!(report.faults().len(), 1, "{report}");
    assert!(
        report.faults()[0].starts_with("the application under test has no AppKeys"),
        "{report}"
    );
    assert_eq!(report.protected(), [""; 0]);
}

// B15
#[actix_web::test]
async fn middleware_around_hides_neither_a_refusal_nor_a_forgotten_route() {
    let app = App::new()
        .service(guarded_service)
        .service(
            web::scope("/scope")
                .wrap(Logger::default())
                .route("/x", web::get().to(forgotten)),
        )
        .wrap(Logger::default())
        .wrap(Cors::permissive())
        .wrap(DefaultHeaders::new().add(("x-served-by", "cakes")))
        .wrap(NormalizePath::trim());
    let report = report(app, public([])).await;
    assert_eq!(report.faults().len(), 1, "{report}");
    assert!(report.faults()[0].starts_with("GET /scope/x answered 200"));
    assert_eq!(report.protected(), ["GET /service/{id}"]);
    assert!(report.unseen()[0].starts_with("what a middleware of the application answers"));
}

// B15
#[actix_web::test]
async fn a_refusal_that_a_middleware_makes_anew_is_not_taken_for_ours() {
    let anew = ErrorHandlers::new().handler(
        actix_web::http::StatusCode::UNAUTHORIZED,
        |response: ServiceResponse<BoxBody>| {
            let response = response.into_response(HttpResponse::Unauthorized().body("no"));
            Ok(ErrorHandlerResponse::Response(
                response.map_into_left_body(),
            ))
        },
    );
    let report = report(App::new().service(guarded_service).wrap(anew), public([])).await;
    assert_eq!(report.faults().len(), 1, "{report}");
    assert!(
        report.faults()[0].contains("one that a middleware made anew"),
        "{report}"
    );
}

// B15
#[actix_web::test]
async fn a_service_that_never_answers_is_caught() {
    async fn stuck() -> &'static str {
        actix_web::rt::time::sleep(Duration::from_secs(3600)).await;
        ""
    }
    let app = App::new().route("/stuck", web::get().to(stuck));
    assert_eq!(
        faults(app, public([])).await,
        ["GET /stuck did not answer a caller without a key within 10 s"]
    );
}

// B15
#[actix_web::test]
async fn external_resources_are_listed_and_not_called() {
    let app = App::new()
        .service(guarded_service)
        .external_resource("docs", "https://docs.example/{page}");
    let report = report(app, public([])).await;
    assert_eq!(report.faults(), [""; 0]);
    assert_eq!(
        report.unseen(),
        ["https://docs.example/{page} (an external resource: nothing is served there)"]
    );
}

// B15
#[actix_web::test]
async fn a_service_of_ones_own_that_guards_some_of_its_paths_is_not_passed() {
    struct Mounted;
    impl actix_web::dev::HttpServiceFactory for Mounted {
        fn register(self, config: &mut actix_web::dev::AppService) {
            let definition = actix_web::dev::ResourceDef::prefix("/mounted");
            let service = fn_service(async |request: ServiceRequest| {
                Ok::<_, actix_web::Error>(
                    request.into_response(HttpResponse::Ok().body("for anyone")),
                )
            });
            config.register_service(definition, None, service, None);
        }
    }
    assert_open(App::new().service(Mounted), &["* /mounted"]).await;
}

// B15
#[actix_web::test]
async fn the_assertion_fails_with_the_list_and_where_it_stands() {
    let keys = TestKeys::new();
    let app = App::new()
        .app_data(keys.app_keys.clone())
        .service(forgotten_service)
        .service(guarded_service);
    let line = line!() + 1;
    let asserted = assert_protected(app, public([]));
    let failure = futures_panic(asserted).await;
    for piece in [
        "GET /service answered 200 OK to a caller without a key",
        "public([(\"GET /service\", \"..\")])",
        "protected: 1\n     GET /service/{id}",
        &format!("forgotten_routes.rs:{line}:"),
    ] {
        assert!(failure.contains(piece), "{piece}\n{failure}");
    }
    let app = App::new().app_data(keys.app_keys).service(guarded_service);
    assert!(assert_protected(app, public([])).await.is_protected());
}

/// The message that a future panics with.
async fn futures_panic(future: impl Future<Output = ProtectionReport>) -> String {
    let mut future = Box::pin(future);
    let polled = std::future::poll_fn(|context| {
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match poll {
            Ok(std::task::Poll::Pending) => std::task::Poll::Pending,
            Ok(std::task::Poll::Ready(report)) => std::task::Poll::Ready(Ok(report)),
            Err(failure) => std::task::Poll::Ready(Err(failure)),
        }
    });
    let failure = polled.await.expect_err("the assertion held");
    failure.downcast_ref::<String>().unwrap().clone()
}
