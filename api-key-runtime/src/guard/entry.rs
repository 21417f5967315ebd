//! The functions that the expansion of `#[require_app_key]` calls.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
};

use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, web};

use super::{authenticate, authenticate_again};
use crate::{policy::Policy, rejection::at_handler};

/// The return type of the attribute's outer function.
pub type BoxFuture = Pin<Box<dyn Future<Output = HttpResponse>>>;

/// The type that the compiler's message names if an attribute below `#[require_app_key]` removes
/// the handler.
#[derive(Debug)]
pub struct AnAttributeBelowRemovedTheHandler;

/// A function that actix-web accepts as a handler.
///
/// The trait exists for its compiler message about a function that returns no future. Without the
/// trait, the message would name actix-web's `Handler` and give no advice.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an actix-web handler",
    label = "not a handler",
    note = "a handler is an `async fn`, or a function that returns a future: write `async fn`"
)]
pub trait ProtectedHandler<Args>: 'static {
    type Output;
    type Future: Future<Output = Self::Output>;

    fn call(&self, arguments: Args) -> Self::Future;
}

#[diagnostic::do_not_recommend]
impl<F: Handler<Args>, Args> ProtectedHandler<Args> for F {
    type Output = F::Output;
    type Future = F::Future;

    fn call(&self, arguments: Args) -> Self::Future {
        Handler::call(self, arguments)
    }
}

/// Authenticates the request, and only then runs the extractors and the handler.
///
/// A body may take minutes to arrive. If the extractors had to wait, the request is checked again
/// before the handler runs. A key that was revoked during the wait is rejected.
pub fn authenticated<F, Args, Answer>(
    policy: &'static Policy,
    request: HttpRequest,
    payload: web::Payload,
    handler: F,
) -> BoxFuture
where
    F: ProtectedHandler<Args, Output = Answer>,
    Args: FromRequest + 'static,
    Answer: Responder + 'static,
{
    Box::pin(async move {
        let access = match authenticate(policy, &request).await {
            Ok(access) => access,
            Err(rejection) => return at_handler(*rejection),
        };
        let mut payload = payload.into_inner();
        let mut has_waited = false;
        let extracted = {
            let mut extraction = pin!(Args::from_request(&request, &mut payload));
            poll_fn(|context| {
                let polled = extraction.as_mut().poll(context);
                has_waited |= polled.is_pending();
                polled
            })
            .await
        };
        let mut response = match extracted {
            Ok(arguments) => {
                if has_waited && let Err(rejection) = authenticate_again(policy, &request).await {
                    return at_handler(*rejection);
                }
                handler.call(arguments).await.respond_to(&request).map_into_boxed_body()
            }
            Err(error) => HttpResponse::from_error(error),
        };
        access.finish(&mut response);
        response
    })
}
