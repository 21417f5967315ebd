//! The key of a request, as other middlewares see it.

use actix_web::{
    App, Error, FromRequest as _, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::HeaderName,
    middleware::{Next, from_fn},
    test::{TestRequest, init_service},
    web,
};
use api_key_runtime::{
    AppKey, AppKeyExt as _, RequireAppKey, require_app_key,
    test_util::{TestKeys, TestRequestExt as _},
};

use crate::support::log;

/// Reports in headers which key it saw before and after the inner service.
async fn seen(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let before = request.app_key().map_or(0, |key| key.id());
    let mut response = next.call(request).await?;
    let after = response.app_key().map_or(0, |key| key.id());
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-before"), before.into());
    headers.insert(HeaderName::from_static("x-after"), after.into());
    Ok(response)
}

async fn own(request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().body(request.app_key().map_or(0, |key| key.id()).to_string())
}

#[require_app_key]
async fn guarded() -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[actix_web::test]
async fn a_middleware_sees_the_key_after_the_check() {
    let keys = TestKeys::new();
    let key = keys.issue("");
    let id = key.record.id;
    let guard = RequireAppKey::new();
    let app = init_service(
        App::new()
            .app_data(keys.app_keys.clone())
            .service(web::resource("/inside").wrap(from_fn(seen)).wrap(guard).get(own))
            .service(web::resource("/outside").wrap(guard).wrap(from_fn(seen)).get(own))
            .service(web::resource("/attribute").wrap(from_fn(seen)).get(guarded))
            .service(
                web::resource("/optional").wrap(guard.optional()).wrap(from_fn(seen)).get(own),
            ),
    )
    .await;
    for (path, before, after) in
        [("/inside", id, id), ("/outside", 0, id), ("/attribute", 0, id), ("/optional", 0, id)]
    {
        let request = TestRequest::get().uri(path).with_app_key(&key);
        let response = request.send_request(&app).await;
        assert_eq!(response.status(), 200, "{path}");
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("x-before"), before.to_string(), "{path}");
        assert_eq!(header("x-after"), after.to_string(), "{path}");
    }
    for (path, status) in [("/outside", 401), ("/attribute", 401), ("/optional", 200)] {
        let response = TestRequest::get().uri(path).send_request(&app).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers().get("x-after").unwrap(), "0", "{path}");
    }
}

/// Uses the extractor after the inner service.
async fn extracted(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    let key = Option::<AppKey>::extract(response.request()).await?;
    let id = key.map_or(0, |key| key.id());
    response.headers_mut().insert(HeaderName::from_static("x-after"), id.into());
    Ok(response)
}

#[actix_web::test]
async fn a_middleware_that_finds_no_key_logs_no_error() {
    log::install();
    let keys = TestKeys::new();
    let key = keys.issue("");
    let app = init_service(
        App::new()
            .app_data(keys.app_keys.clone())
            .wrap(from_fn(extracted))
            .route("/quiet/public", web::get().to(own))
            .route("/quiet/guarded", web::get().to(guarded)),
    )
    .await;
    for (path, key, status, id) in [
        ("/quiet/public", None, 200, 0),
        ("/quiet/guarded", None, 401, 0),
        ("/quiet/guarded", Some(&key), 200, key.record.id),
        ("/quiet/unmatched", None, 404, 0),
    ] {
        let request = TestRequest::get().uri(path);
        let request = match key {
            Some(key) => request.with_app_key(key),
            None => request,
        };
        let response = request.send_request(&app).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers().get("x-after").unwrap(), &*id.to_string(), "{path}");
    }
    let mut lines = log::lines_with("/quiet/");
    lines.retain(|line| line.starts_with("ERROR"));
    assert_eq!(lines, [""; 0]);
}
