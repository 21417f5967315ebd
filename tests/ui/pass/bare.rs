//! A module without a prelude, in which common names have another meaning.
#![no_implicit_prelude]

pub(crate) mod core {}
pub(crate) mod std {}
pub(crate) mod actix_web {}

#[derive(Debug)]
pub(crate) struct Box;
#[derive(Debug)]
pub(crate) struct Future;
#[derive(Debug)]
pub(crate) struct HttpRequest;
#[derive(Debug)]
pub(crate) struct Pin;
#[derive(Debug)]
pub(crate) struct Policy;

#[::api_key_runtime::require_app_key(scopes = "a", optional)]
pub(crate) async fn bare() -> ::actix_web::HttpResponse {
    ::actix_web::HttpResponse::Ok()
        .json([::std::format!("{:?}", (Box, Future, HttpRequest, Pin, Policy))])
}
