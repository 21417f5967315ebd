//! Responses that count as a rejection, and routes that are listed as public or unseen.

use super::*;

// B15
#[actix_web::test]
async fn a_handler_s_own_404_or_401_is_not_a_rejection() {
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
            web::resource("/mixed").route(web::get().to(guarded)).route(web::route().to(none)),
        );
    assert_eq!(
        faults(app, Exceptions::public([])).await,
        [
            "HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE /mixed answered 404 Not Found to a caller without a key",
            "GET /none answered 404 Not Found to a caller without a key",
            "GET /own answered 401 Unauthorized to a caller without a key",
        ]
    );
}

// B15
#[actix_web::test]
async fn a_handler_that_only_takes_the_key_or_body_is_unguarded() {
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
        faults(app, Exceptions::public([])).await,
        [
            "POST /body answered 400 Bad Request to a caller without a key",
            "GET /key answered 500 Internal Server Error to a caller without a key",
        ]
    );
}

// B15
#[actix_web::test]
async fn an_optional_route_must_be_listed_as_public() {
    let app = || App::new().route("/menu", web::get().to(optional));
    assert_eq!(
        faults(app(), Exceptions::public([])).await,
        ["GET /menu accepts a caller without a key: #[require_app_key(optional)]"]
    );
    let exceptions = Exceptions::public([("GET /menu", "prices are shown to bakers only")]);
    assert_eq!(faults(app(), exceptions).await, [""; 0]);
}

// B15
#[actix_web::test]
async fn a_route_listed_as_public_with_a_reason_passes() {
    let app = App::new()
        .service(forgotten_service)
        .service(guarded_service)
        .service(web::resource("/any").to(forgotten))
        .default_service(web::to(forgotten));
    let exceptions = Exceptions::public([
        ("GET /service", "the load balancer asks it"),
        ("* /any", "a form for everyone"),
        ("* /<unmatched>", "a page that says so"),
    ]);
    let report = report(app, exceptions).await;
    assert_eq!(report.violations(), [""; 0]);
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
    let resource =
        web::resource("/x").route(web::get().to(forgotten)).route(web::delete().to(forgotten));
    let exceptions = Exceptions::public([("GET /x", "a page for everyone")]);
    assert_eq!(
        faults(App::new().service(resource), exceptions).await,
        [format!("DELETE /x {OPEN}")]
    );
}

// B15
#[actix_web::test]
async fn a_public_name_must_match_an_open_route_and_have_a_reason() {
    let app = App::new().service(guarded_service).service(forgotten_service);
    let exceptions = Exceptions::public([
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
        "GET /service/ is listed as an exception without a reason",
        "\"/service\" is not a route",
        "GET /gone is listed as public, but nothing answers there",
        "POST /service is listed as public, but nothing answers there",
        "GET /service/{id} is listed as public, but rejects a caller without a key",
        "GET /service is listed as unseen, but nothing there needs this exception",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\n{expected}");
    }
}

// B15
#[actix_web::test]
async fn an_application_without_keys_is_reported() {
    let app = App::new().service(guarded_service).service(guarded_report);
    let report = protection_report(app, Exceptions::public([])).await;
    assert_eq!(report.violations().len(), 1, "{report}");
    assert!(report.violations()[0].starts_with("the application has no AppKeys"), "{report}");
    assert_eq!(report.protected(), [""; 0]);
}

// B15
#[actix_web::test]
async fn outer_middleware_hides_no_rejection_and_no_open_route() {
    let app = App::new()
        .service(guarded_service)
        .service(web::scope("/scope").wrap(Logger::default()).route("/x", web::get().to(forgotten)))
        .wrap(Logger::default())
        .wrap(Cors::permissive())
        .wrap(DefaultHeaders::new().add(("x-served-by", "cakes")))
        .wrap(NormalizePath::trim());
    let report = report(app, Exceptions::public([])).await;
    assert_eq!(report.violations().len(), 1, "{report}");
    assert!(report.violations()[0].starts_with("GET /scope/x answered 200"));
    assert_eq!(report.protected(), ["GET /service/{id}"]);
    assert!(report.unseen()[0].starts_with("responses that a middleware generates"));
}

// B15
#[actix_web::test]
async fn a_rejection_replaced_by_a_middleware_is_a_violation() {
    let replace = ErrorHandlers::new().handler(
        actix_web::http::StatusCode::UNAUTHORIZED,
        |response: ServiceResponse<BoxBody>| {
            let response = response.into_response(HttpResponse::Unauthorized().body("no"));
            Ok(ErrorHandlerResponse::Response(response.map_into_left_body()))
        },
    );
    let report =
        report(App::new().service(guarded_service).wrap(replace), Exceptions::public([])).await;
    assert_eq!(report.violations().len(), 1, "{report}");
    assert!(report.violations()[0].contains("a middleware replaced the rejection"), "{report}");
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
        faults(app, Exceptions::public([])).await,
        ["GET /stuck did not answer a caller without a key within 10 s"]
    );
}

// B15
#[actix_web::test]
async fn external_resources_are_listed_and_not_called() {
    let app = App::new()
        .service(guarded_service)
        .external_resource("docs", "https://docs.example/{page}");
    let report = report(app, Exceptions::public([])).await;
    assert_eq!(report.violations(), [""; 0]);
    assert_eq!(
        report.unseen(),
        ["https://docs.example/{page} (external resource: not served by this application)"]
    );
}

// B15
#[actix_web::test]
async fn a_partly_guarded_custom_service_is_a_violation() {
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
async fn the_assertion_fails_with_the_list_and_its_location() {
    let keys = TestKeys::new();
    let app = App::new()
        .app_data(keys.app_keys.clone())
        .service(forgotten_service)
        .service(guarded_service);
    let line = line!() + 1;
    let asserted = assert_protected(app, Exceptions::public([]));
    let failure = futures_panic(asserted).await;
    for piece in [
        "GET /service answered 200 OK to a caller without a key",
        "Exceptions::public([(\"GET /service\", \"..\")])",
        "protected: 1\n     GET /service/{id}",
        &format!("named.rs:{line}:"),
    ] {
        assert!(failure.contains(piece), "{piece}\n{failure}");
    }
    let app = App::new().app_data(keys.app_keys).service(guarded_service);
    assert!(assert_protected(app, Exceptions::public([])).await.is_protected());
}

/// Returns the message with which a future panics.
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
