//! Keys are made and changed by whoever has the database: no request does, whatever key it presents.

use actix_web::{App, HttpResponse, HttpServer, get};
use api_key_runtime::{AppKeys, NewKey, RequireAppKey, require_app_key};

use crate::support::{Database, Server, database_test, http};

/// Where others answer requests that make, change or show keys, and where one would look for ours.
const PATHS: [&str; 20] = [
    "/",
    "/keys",
    "/keys/1",
    "/api-keys",
    "/api_keys",
    "/api-keys/1/rotate",
    "/api-keys/1/revoke",
    "/app-keys",
    "/app_keys/1",
    "/app-key/issue",
    "/admin/keys",
    "/api/auth/api-key/create",
    "/api/auth/api-key/update",
    "/api/auth/api-key/list",
    "/v2/keys.createKey",
    "/consumers/test/key-auth",
    "/apisix/admin/consumers/test",
    "/sanctum/token",
    "/oauth/token",
    "/login",
];

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"];

/// What some of them take for a request to make one.
const BODIES: [(&str, &str); 2] = [
    (
        "application/json",
        r#"{"name":"mine","ip":"any","allowed_ips":"0.0.0.0","scopes":"admin","userId":"1"}"#,
    ),
    ("application/x-www-form-urlencoded", "name=mine&ip=any&allowed_ips=0.0.0.0&scopes=admin"),
];

#[get("/guarded")]
#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// A service that uses all that can be put into an application.
fn serve(keys: AppKeys) -> Server {
    Server::built(move || {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(keys.clone())
                .wrap(RequireAppKey::new())
                .wrap(keys.access_log())
                .service(guarded)
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        (server.addrs()[0], server.run())
    })
}

// A14
database_test!(no_request_makes_or_changes_a_key, |database: Database| {
    let new = NewKey::new("test").allow_any().scopes("admin keys:write").unwrap();
    let (key, _) = database.issue_with(&new);
    let logged = || database.texts("SELECT cast(count(*) AS text) FROM api_key_changes");
    let before = (database.rows(), logged());
    let server = serve(database.keys());
    assert_eq!(http::get_with(server.address, "/guarded", &key).status, 200, "the service is up");
    for path in PATHS {
        for method in METHODS {
            for (kind, body) in BODIES {
                let lines = [
                    format!("Authorization: Bearer {key}"),
                    format!("Content-Type: {kind}"),
                    format!("Content-Length: {}", body.len()),
                ];
                let lines = lines.each_ref().map(String::as_str);
                // What is not routed leaves its body unread, and the connection with it.
                let mut client = http::Client::connect(server.address);
                client.send(http::head(method, path, &lines)).send(body);
                let answer = client.read(false).unwrap();
                assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            }
        }
    }
    assert_eq!((database.rows(), logged()), before);
});
