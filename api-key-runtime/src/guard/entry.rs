//! The functions that the expansion of `#[require_app_key]` calls.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Ready, poll_fn, ready},
    pin::{Pin, pin},
};

use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, dev::Payload};

use super::{authenticate, authenticate_again};
use crate::{policy::Policy, rejection::at_handler};

/// The return type of the attribute's outer function.
pub type BoxFuture = Pin<Box<dyn Future<Output = HttpResponse>>>;

/// The only argument of the attribute's outer function: a request before its check, and its unread
/// body. actix-web extracts one argument with fewer instructions than two (bench `instructions`).
pub struct UncheckedRequest {
    request: HttpRequest,
    payload: Payload,
}

/// Omits the request, because its headers may contain a key.
impl fmt::Debug for UncheckedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UncheckedRequest").finish_non_exhaustive()
    }
}

impl FromRequest for UncheckedRequest {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    #[inline]
    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(Self { request: request.clone(), payload: payload.take() }))
    }
}

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
    UncheckedRequest { request, mut payload }: UncheckedRequest,
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
