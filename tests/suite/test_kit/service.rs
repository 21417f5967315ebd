use actix_web::{Responder, delete, get, web};
use api_key_runtime::require_app_key;

#[get("/health")]
async fn health() -> &'static str {
    "ok"
}

#[delete("/cakes/{id}")]
#[require_app_key(scopes = "cakes:delete")]
async fn delete_cake(id: web::Path<i64>) -> impl Responder {
    format!("Cake {id} was deleted.\n")
}

fn routes(config: &mut web::ServiceConfig) {
    config.service(health).service(delete_cake);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::{
        App,
        test::{TestRequest, init_service},
    };
    use api_key_runtime::{
        route_audit::{Exceptions, assert_protected},
        test_util::{TestKeys, TestRequestExt as _},
    };

    use super::routes;

    #[actix_web::test]
    async fn only_a_key_with_the_scope_deletes_a_cake() {
        let keys = TestKeys::new();
        let (deleter, reader) = (keys.issue("cakes:delete"), keys.issue("cakes:read"));
        let app = App::new().app_data(keys.app_keys.clone()).configure(routes);
        let app = init_service(app).await;
        let delete = || TestRequest::delete().uri("/cakes/1");
        let status = async |request: TestRequest| request.send_request(&app).await.status();

        assert_eq!(status(delete()).await, 401);
        assert_eq!(status(delete().with_app_key(&reader)).await, 403);
        assert_eq!(status(delete().with_app_key(&deleter)).await, 200);
        keys.clock.advance(Duration::from_secs(2 * 3600));
        assert_eq!(status(delete().with_app_key(&deleter)).await, 401);
    }

    #[actix_web::test]
    async fn no_route_is_forgotten() {
        let app = App::new().app_data(TestKeys::new().app_keys).configure(routes);
        assert_protected(app, Exceptions::public([("GET /health", "the load balancer asks it")]))
            .await;
    }
}
