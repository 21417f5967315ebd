//! The routes. A handler without `#[require_app_key]` is public.

use actix_web::{
    Either, HttpResponse, Responder, Result, delete, get,
    http::header::{ContentType, LOCATION},
    post,
    web::{Data, Form, Json, JsonConfig, Path, PathConfig, PayloadConfig, ServiceConfig, scope},
};
use api_key_runtime::{AppKey, require_app_key};
use serde_json::json;

use crate::{
    cake::{self, NewCake},
    database::Database,
    jsend::{Failure, success},
};

/// The maximum size of a request body. A cake needs far less.
const MAX_BODY_BYTES: usize = 16 * 1024;

pub(crate) fn routes(config: &mut ServiceConfig) {
    let cakes = scope("/api/v1")
        .service(list_cakes)
        .service(show_cake)
        .service(bake_cake)
        .service(delete_cake);
    config
        .app_data(PayloadConfig::new(MAX_BODY_BYTES))
        // Sets the response to a body that is not a cake. This also applies to forms, because
        // `Either` returns the error of its first extractor, which is `Json`.
        .app_data(JsonConfig::default().error_handler(|_, _| NOT_A_CAKE.into()))
        .app_data(PathConfig::default().error_handler(|_, _| Failure::NoSuchCake.into()))
        .service(front_page)
        .service(health)
        .service(version)
        .service(whoami)
        .service(cakes);
}

const NOT_A_CAKE: Failure = Failure::Invalid {
    field: "body",
    why: "a cake has only a `name` and a `price_cents`: send both as JSON or as a form",
};

#[get("/")]
async fn front_page() -> impl Responder {
    HttpResponse::Ok().insert_header(ContentType::html()).body(include_str!("front_page.html"))
}

#[get("/health")]
async fn health() -> impl Responder {
    Json(success(()))
}

#[get("/version")]
#[require_app_key]
async fn version() -> impl Responder {
    Json(success(json!({ "version": env!("CARGO_PKG_VERSION") })))
}

#[get("/whoami")]
#[require_app_key]
async fn whoami(key: AppKey) -> impl Responder {
    Json(success(json!({
        "id": key.id(),
        "name": key.name(),
        "owner": key.owner(),
        "scopes": key.scopes().as_str(),
        "address": key.client_ip(),
    })))
}

#[get("/cakes")]
async fn list_cakes(database: Data<Database>) -> Result<impl Responder> {
    let cakes = database.run(cake::list).await?;
    Ok(Json(success(json!({ "cakes": cakes }))))
}

#[get("/cakes/{id}")]
async fn show_cake(id: Path<i64>, database: Data<Database>) -> Result<impl Responder> {
    let id = id.into_inner();
    let found = database.run(move |connection| cake::find(connection, id)).await?;
    let cake = found.ok_or(Failure::NoSuchCake)?;
    Ok(Json(success(json!({ "cake": cake }))))
}

#[post("/cakes")]
#[require_app_key(scopes = "cakes:write")]
async fn bake_cake(
    cake: Either<Json<NewCake>, Form<NewCake>>,
    database: Data<Database>,
) -> Result<impl Responder> {
    let new = match cake {
        Either::Left(Json(new)) | Either::Right(Form(new)) => new.check()?,
    };
    let cake = database.run(move |connection| cake::insert(connection, &new)).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/cakes/{}", cake.id)))
        .json(success(json!({ "cake": cake }))))
}

#[delete("/cakes/{id}")]
#[require_app_key(scopes = "cakes:delete")]
async fn delete_cake(
    id: Path<i64>,
    key: AppKey,
    database: Data<Database>,
) -> Result<impl Responder> {
    let id = id.into_inner();
    if !database.run(move |connection| cake::delete(connection, id)).await? {
        return Err(Failure::NoSuchCake.into());
    }
    log::info!("cake {id} deleted with key {} ({:?})", key.id(), key.name());
    Ok(Json(success(())))
}
