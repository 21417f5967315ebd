//! Routes that are hard to reach are checked, or listed as unseen.

use super::*;

// B15
#[actix_web::test]
async fn known_guards_of_actix_web_are_satisfied() {
    let app = App::new()
        .service(
            web::resource("/versioned")
                .route(web::get().guard(guard::Header("x-version", "2")).to(forgotten))
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

/// A boxed guard that is itself a guard, so that one list can contain guards of different types.
struct Boxed(Box<dyn guard::Guard>);

impl guard::Guard for Boxed {
    fn check(&self, context: &guard::GuardContext<'_>) -> bool {
        self.0.check(context)
    }

    fn name(&self) -> String {
        self.0.name()
    }

    fn details(&self) -> Option<Vec<guard::GuardDetail>> {
        self.0.details()
    }
}

/// B15: The open route gets the requests that the negated guard excludes, so the audit must send
/// such a request.
#[actix_web::test]
async fn an_open_route_beside_a_negated_guard_is_caught() {
    type MakeGuard = fn() -> Box<dyn guard::Guard>;
    let guards: [(MakeGuard, &str); 8] = [
        (|| Box::new(guard::Not(guard::Header("x-beta", "1"))), "*"),
        (|| Box::new(guard::Not(guard::Host("beta.example"))), "*"),
        (|| Box::new(guard::Not(guard::Host("beta.example").scheme("https"))), "*"),
        (|| Box::new(guard::Not(guard::Acceptable::new("text/html".parse().unwrap()))), "*"),
        (|| Box::new(guard::Not(guard::Method(Method::from_bytes(b"PURGE").unwrap()))), "PURGE"),
        (|| Box::new(guard::Not(guard::Not(guard::Not(guard::Header("x-beta", "1"))))), "*"),
        (
            || {
                let both = guard::All(guard::Header("x-beta", "1")).and(guard::Header("x-b", "2"));
                Box::new(guard::Not(both))
            },
            "*",
        ),
        (
            || {
                let beta = guard::Not(guard::Header("x-beta", "1"));
                Box::new(guard::Any(beta).or(guard::Header("x-beta", "2")))
            },
            "*",
        ),
    ];
    for (number, (make, methods)) in guards.into_iter().enumerate() {
        let beside = [
            App::new().service(
                web::resource("/x")
                    .route(web::route().guard(Boxed(make())).to(guarded))
                    .route(web::route().to(forgotten)),
            ),
            App::new()
                .service(web::resource("/x").guard(Boxed(make())).to(guarded))
                .service(web::resource("/x").to(forgotten)),
            App::new()
                .service(web::scope("/x").guard(Boxed(make())).route("", web::route().to(guarded)))
                .service(web::scope("/x").route("", web::route().to(forgotten))),
            App::new()
                .service(web::scope("/x").guard(Boxed(make())).default_service(web::to(guarded)))
                .service(web::scope("/x").default_service(web::to(forgotten))),
        ];
        for (kind, app) in beside.into_iter().enumerate() {
            let path = if kind == 3 { "/x/<unmatched>" } else { "/x" };
            let found = faults(app, Exceptions::public([])).await;
            let expected = format!("{methods} {path} {OPEN}");
            assert_eq!(found, [expected], "guard {number}, kind {kind}");
        }
    }
}

// B15
#[actix_web::test]
async fn an_open_route_for_several_media_types_is_caught() {
    let accepts = |kind: &str| guard::Acceptable::new(kind.parse().unwrap());
    let both = guard::All(accepts("text/html")).and(accepts("application/json"));
    let app = App::new().service(
        web::resource("/x")
            .route(web::get().guard(both).to(forgotten))
            .route(web::get().to(guarded)),
    );
    assert_open(app, &["GET /x"]).await;
}

// B15
#[actix_web::test]
async fn an_open_route_for_another_scheme_of_a_host_is_caught() {
    let host = || guard::Host("shop.example").scheme("https");
    let app = App::new().service(
        web::resource("/x")
            .route(web::get().guard(host()).to(guarded))
            .route(web::get().guard(guard::Host("shop.example")).to(forgotten)),
    );
    assert_open(app, &["GET /x"]).await;
}

/// B15: The audit parses the name of a negated guard. It cannot parse this name, because the value
/// contains a parenthesis.
#[actix_web::test]
async fn a_negated_guard_of_an_unreadable_value_is_unseen() {
    let app = App::new().service(
        web::resource("/x")
            .route(web::get().guard(guard::Not(guard::Header("x-beta", "1) (2"))).to(guarded))
            .route(web::get().to(forgotten)),
    );
    let found = faults(app, Exceptions::public([])).await;
    let [fault] = found.as_slice() else { panic!("{found:?}") };
    assert!(fault.starts_with("GET /x was not seen"), "{fault}");
}

// B15
#[actix_web::test]
async fn a_route_behind_a_custom_guard_is_unseen() {
    let app = || {
        App::new().service(
            web::resource("/beta")
                .route(
                    web::get()
                        .guard(guard::fn_guard(|context| context.head().uri.query() == Some("x")))
                        .to(forgotten),
                )
                .route(web::get().to(guarded)),
        )
    };
    let found = faults(app(), Exceptions::public([])).await;
    let [fault] = found.as_slice() else { panic!("{found:?}") };
    assert!(fault.starts_with("GET /beta was not seen"), "{fault}");
    assert!(fault.contains("FnGuard"), "{fault}");
    let exceptions = Exceptions::public([]).unseen([("GET /beta", "tests/beta.rs calls it")]);
    let report = report(app(), exceptions).await;
    assert_eq!(report.violations(), [""; 0]);
    assert_eq!(report.unseen(), ["GET /beta (tests/beta.rs calls it)"]);
}

// B15
#[actix_web::test]
async fn a_scope_behind_a_custom_guard_is_unseen() {
    let scope =
        web::scope("/beta").guard(guard::fn_guard(|_| false)).route("/x", web::get().to(forgotten));
    let found = faults(App::new().service(scope), Exceptions::public([])).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("* /beta was not seen"), "{found:?}");
}

// B15
#[actix_web::test]
async fn an_exception_for_unseen_routes_does_not_excuse_open_ones() {
    let app = App::new().service(
        web::resource("/beta").route(web::get().guard(guard::fn_guard(|_| true)).to(forgotten)),
    );
    let exceptions = Exceptions::public([]).unseen([("GET /beta", "tests/beta.rs calls it")]);
    assert_eq!(faults(app, exceptions).await, [format!("GET /beta {OPEN}")]);
}

// B15
#[actix_web::test]
async fn a_pattern_without_a_known_path_fails_until_a_sample_is_given() {
    const PATTERN: &str = r"/code/{code:ck-\d{3}[xyz]}";
    let app = || App::new().route(PATTERN, web::get().to(forgotten));
    let found = faults(app(), Exceptions::public([])).await;
    assert!(
        found[0].ends_with("was not seen: no path that matches this pattern could be generated"),
        "{found:?}"
    );
    let sample = |path: &str| Exceptions::public([]).sample(PATTERN, path);
    assert_eq!(faults(app(), sample("/code/ck-123x")).await, [format!("GET {PATTERN} {OPEN}")]);
    assert_eq!(
        faults(app(), sample("/code/1")).await,
        [format!("the sample \"/code/1\" does not match the pattern {PATTERN}")]
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
    assert_eq!(faults(app, Exceptions::public([])).await, [""; 0]);
}

// B15
// Another route gets all requests for this route, so a rejection proves nothing.
#[actix_web::test]
async fn a_shadowed_route_is_not_counted_as_guarded() {
    let app = App::new()
        .service(web::resource("/{any}").to(guarded))
        .route("/x", web::get().to(forgotten));
    let found = faults(app, Exceptions::public([])).await;
    assert_eq!(found, ["GET /x was not reached: /{any} answered instead"]);
}

// B15
#[actix_web::test]
async fn a_route_of_a_scope_that_another_scope_hides_is_not_passed() {
    let app = App::new()
        .service(web::scope("/x").route("/a", web::get().to(guarded)))
        .service(web::scope("/x").route("/b", web::get().to(forgotten)));
    let found = faults(app, Exceptions::public([])).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("GET /x/b was not reached"), "{found:?}");
}
