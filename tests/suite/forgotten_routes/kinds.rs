//! A forgotten route of every kind is caught in an otherwise guarded application.

use super::*;

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
    let report = report(app, Exceptions::public([])).await;
    assert_eq!(report.violations(), [""; 0]);
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
    let mut expected = expected.map(|line| line.replacen("GET /a", "PATCH /a", 1)).to_vec();
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
    assert_open(App::new().service(forgotten_routes), &["GET /several", "POST /several/again"])
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
    let resource =
        web::resource("/resource").route(web::get().to(guarded)).route(web::delete().to(forgotten));
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
async fn an_open_route_behind_a_guarded_one_is_found() {
    let resource =
        web::resource("/x").route(web::get().to(guarded)).route(web::route().to(forgotten));
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
    let resource =
        web::resource("/x").route(web::get().to(guarded)).default_service(web::to(forgotten));
    assert_open(
        App::new().service(resource),
        &["HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE /x"],
    )
    .await;
}

// B15
#[actix_web::test]
async fn a_forgotten_default_service_is_found() {
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
async fn a_guarded_default_service_hides_no_open_scope() {
    let app = App::new()
        .default_service(web::to(guarded))
        .service(web::scope("/open").default_service(web::to(forgotten)))
        .service(web::scope("/closed").route("/x", web::get().to(guarded)));
    assert_open(app, &["* /open/<unmatched>"]).await;
}

/// Returns a folder with one file.
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
        // This handler rejects only requests for missing files.
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
            ("/files", App::new().service(web::scope("/files").service(files("", &folder)))),
        ];
        for (path, app) in apps {
            let faults = faults(app.service(guarded_service), Exceptions::public([])).await;
            assert!(
                faults.iter().any(|fault| fault.contains(&format!(" {path} "))),
                "kind {number} at {path}: {faults:?}"
            );
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

// B15
#[actix_web::test]
async fn files_that_guard_only_missing_paths_are_a_violation() {
    let folder = folder("default");
    let files = Files::new("/static", &folder)
        .index_file("no-index.html")
        .default_handler(web::to(guarded));
    let others = "POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT, QUERY, PROBE";
    let named: Vec<String> = others.split(", ").map(|method| format!("{method} /static")).collect();
    let named = named.iter().map(|route| (route.as_str(), "not allowed"));
    let faults = faults(App::new().service(files), Exceptions::public(named)).await;
    let [fault] = faults.as_slice() else { panic!("{faults:?}") };
    assert!(
        fault.starts_with("* /static serves everything below a path, as Files does"),
        "{fault}"
    );
    fs::remove_dir_all(folder).unwrap();
}

// B15
#[actix_web::test]
async fn a_forgotten_redirect_is_caught() {
    let app = App::new().service(web::redirect("/old", "/new"));
    assert_eq!(
        faults(app, Exceptions::public([])).await,
        ["* /old answered 307 Temporary Redirect to a caller without a key"]
    );
}

// B15
#[actix_web::test]
async fn only_routes_beside_the_middleware_are_violations() {
    let folder = folder("middleware");
    let app = App::new()
        .service(
            web::scope("/api")
                .wrap(RequireAppKey::new())
                .route("/orders", web::get().to(forgotten))
                .service(forgotten_service),
        )
        .service(
            web::scope("/files")
                .wrap(RequireAppKey::new().scopes("files:read"))
                .service(Files::new("", &folder).show_files_listing()),
        )
        .service(
            web::scope("/menu")
                .wrap(RequireAppKey::new().optional())
                .route("", web::get().to(forgotten)),
        )
        .route("/beside", web::get().to(forgotten));
    let faults = faults(app, Exceptions::public([])).await;
    fs::remove_dir_all(folder).unwrap();
    let open = |route: &str| faults.iter().any(|fault| fault.starts_with(&format!("{route} ")));
    assert!(open("* /menu") && open("GET /beside"), "{faults:?}");
    assert!(
        !faults.iter().any(|fault| fault.contains("/api") || fault.contains("/files")),
        "{faults:?}"
    );
}
