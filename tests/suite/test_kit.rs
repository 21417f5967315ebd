//! Support for tests of applications: keys without a database, requests that present them, and a
//! clock that tests control.

use std::time::Duration;

use actix_web::{App, Responder, delete, test, test::TestRequest, web};
use api_key_runtime::{
    KeyLocation,
    admin::NewKey,
    require_app_key,
    test_util::{TestKeys, TestRequestExt as _},
};
use chrono::TimeDelta;

mod service;

#[delete("/cakes/{id}")]
#[require_app_key(scopes = "cakes:delete")]
async fn delete_cake(id: web::Path<i64>) -> impl Responder {
    format!("cake {id} is gone")
}

/// Returns the status of a request to an application with these keys.
async fn status(keys: &TestKeys, request: TestRequest) -> u16 {
    let app = App::new().app_data(keys.app_keys.clone());
    let app = test::init_service(app.service(delete_cake)).await;
    request.send_request(&app).await.status().as_u16()
}

fn request() -> TestRequest {
    TestRequest::delete().uri("/cakes/1")
}

#[actix_web::test]
async fn a_test_needs_ten_lines_and_no_database() {
    let keys = TestKeys::new();
    let (deleter, reader) = (keys.issue("cakes:delete"), keys.issue("cakes:read"));
    assert_eq!(status(&keys, request()).await, 401);
    assert_eq!(status(&keys, request().with_app_key(&reader)).await, 403);
    assert_eq!(status(&keys, request().with_app_key(&deleter)).await, 200);
    keys.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(status(&keys, request().with_app_key(&deleter)).await, 401);
}

#[actix_web::test]
async fn with_app_key_accepts_every_form_of_a_key() {
    let keys = TestKeys::new();
    let key = keys.issue("cakes:delete");
    let text: String = key.secret.expose_secret().to_owned();
    assert_eq!(status(&keys, request().with_app_key(&key.secret)).await, 200);
    assert_eq!(status(&keys, request().with_app_key(&text)).await, 200);
    assert_eq!(status(&keys, request().with_app_key(text.as_str())).await, 200);
    assert_eq!(status(&keys, request().with_app_key("not a key")).await, 401);
}

// F12
#[actix_web::test]
async fn expiry_follows_the_test_clock_both_ways() {
    let keys = TestKeys::new();
    let (ending, other) = (keys.issue("cakes:delete"), keys.issue("cakes:delete"));
    keys.clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(status(&keys, request().with_app_key(&ending)).await, 200);
    keys.clock.advance(Duration::from_secs(60));
    assert_eq!(status(&keys, request().with_app_key(&ending)).await, 401);
    keys.clock.set(keys.clock.now() - TimeDelta::minutes(1));
    assert_eq!(status(&keys, request().with_app_key(&ending)).await, 200);
    assert_eq!(status(&keys, request().with_app_key(&other)).await, 200);
    keys.revoke(&other);
    assert_eq!(status(&keys, request().with_app_key(&other)).await, 401);
}

#[actix_web::test]
async fn issue_new_keeps_the_allow_list_of_a_key() {
    let keys = TestKeys::new();
    let new = NewKey::new("bound").allow("10.0.0.0/8").unwrap().scopes("cakes:delete").unwrap();
    let key = keys.issue_new(&new);
    let from = |peer: &str| request().with_app_key(&key).peer_addr(peer.parse().unwrap());
    assert_eq!(status(&keys, from("10.1.2.3:4000")).await, 200);
    assert_eq!(status(&keys, from("192.0.2.1:4000")).await, 401);
    assert_eq!(status(&keys, request().with_app_key(&key)).await, 401);
}

#[actix_web::test]
async fn keys_follow_the_settings_of_the_application() {
    let pepper = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let keys = TestKeys::with(|builder| {
        builder.prefix("shop_").pepper(pepper).key_locations([KeyLocation::header("x-shop-key")])
    });
    let key = keys.issue("cakes:delete");
    assert!(key.secret.expose_secret().starts_with("shop_"));
    let presented = request().insert_header(("x-shop-key", key.secret.expose_secret()));
    assert_eq!(status(&keys, presented).await, 200);
    assert_eq!(status(&keys, request().with_app_key(&key)).await, 401);
}

#[actix_web::test]
async fn keys_of_two_tests_are_separate() {
    let (ours, theirs) = (TestKeys::new(), TestKeys::new());
    let key = ours.issue("cakes:delete");
    assert_eq!(status(&theirs, request().with_app_key(&key)).await, 401);
    assert_eq!(status(&ours, request().with_app_key(&key)).await, 200);
}
