//! Calls routes without a key and classifies the responses.

use std::{cell::RefCell, fmt, future::Future, pin::Pin, rc::Rc, time::Duration};

use actix_http::Request;
use actix_web::{
    App, Error, HttpMessage as _, HttpRequest,
    body::{BodySize, MessageBody},
    dev::{Service as _, ServiceFactory, ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{CONTENT_TYPE, HeaderValue},
    },
    introspection::IntrospectionTree,
    rt::time::timeout,
    test::{TestRequest, init_service, try_call_service},
    web::Data,
};

use super::paths::UNMATCHED;
use crate::{app_key::Anonymous, foreign_texts::is_app_entry, rejection::Mark};

/// The timeout of one call. After the timeout, the handler is assumed to be running, so its route
/// counts as open.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

type Answering = Pin<Box<dyn Future<Output = Answer>>>;

/// An application to call, and the tree of its routes.
pub(super) struct Prober {
    call: Box<dyn Fn(Request) -> Answering>,
    pub(super) tree: Option<Data<IntrospectionTree>>,
    pub(super) has_middleware: bool,
}

impl Prober {
    pub(super) async fn new<T, B>(app: App<T>) -> Self
    where
        T: ServiceFactory<
                ServiceRequest,
                Config = (),
                Response = ServiceResponse<B>,
                Error = Error,
                InitError = (),
            > + 'static,
        B: MessageBody + 'static,
    {
        let tree = Rc::new(RefCell::new(None));
        let found = Rc::clone(&tree);
        // This middleware is the outermost one, so it sees the data of the application and not the
        // data of a scope.
        let app = app.wrap_fn(move |request, next| {
            let data = request.app_data::<Data<IntrospectionTree>>().cloned();
            if data.is_some() {
                *found.borrow_mut() = data;
            }
            next.call(request)
        });
        let app = Rc::new(init_service(app).await);
        let mut prober = Self {
            call: Box::new(move |request| {
                let app = Rc::clone(&app);
                Box::pin(async move {
                    match timeout(CALL_TIMEOUT, try_call_service(&*app, request)).await {
                        Ok(Ok(response)) => Answer::of(&response),
                        Ok(Err(error)) => Answer::of_error(error.as_response_error().status_code()),
                        Err(_) => Answer::silent(),
                    }
                })
            }),
            tree: None,
            has_middleware: !is_app_entry::<T>(),
        };
        prober.call(&Method::GET, &format!("/{UNMATCHED}"), &[]).await;
        prober.tree = tree.take();
        prober
    }

    /// Calls the application without a key and without a body. `path` is percent-encoded.
    pub(super) async fn call(
        &self,
        method: &Method,
        path: &str,
        headers: &[(String, String)],
    ) -> Answer {
        let mut request = TestRequest::with_uri(path).method(method.clone());
        for (name, value) in headers {
            request = request.insert_header((name.as_str(), value.as_str()));
        }
        (self.call)(request.to_request()).await
    }
}

/// The classified response to a call, and how far the call was routed.
pub(super) struct Answer {
    pub(super) what: What,
    /// The pattern that matched the path. If `is_whole` is `false`, the pattern matched only the
    /// beginning of the path, as for a service with a prefix.
    pattern: Option<String>,
    is_whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Rejected,
    /// The attribute rejected the request. The attribute protects only one handler.
    RejectedAtHandler,
    NoAppKeys,
    /// The request was accepted because the key is optional.
    Optional,
    /// 404 or 405 without a body, the default response of actix-web.
    Empty(StatusCode),
    Open(Open),
}

/// A response that is not a rejection of this crate. Two such responses are compared by status,
/// body size and content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    status: Option<StatusCode>,
    body: BodySize,
    content_type: Option<HeaderValue>,
}

impl fmt::Display for Open {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(formatter, "answered {status} to a caller without a key"),
            None => write!(
                formatter,
                "did not answer a caller without a key within {} s",
                CALL_TIMEOUT.as_secs()
            ),
        }
    }
}

impl Open {
    pub(super) fn has_status(&self, status: StatusCode) -> bool {
        self.status == Some(status)
    }

    /// Creates an empty response of a handler.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status: Some(status), body: BodySize::None, content_type: None }
    }
}

impl Answer {
    /// Returns the pattern of the resource that the whole path matched. Returns `None` if no
    /// resource or only a prefix matched.
    pub(super) fn resource(&self) -> Option<&str> {
        self.pattern.as_deref().filter(|_| self.is_whole)
    }

    /// Returns the pattern of the service that matched a prefix of the path. Resources match whole
    /// paths.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.pattern.as_deref().filter(|_| !self.is_whole)
    }

    fn of<B: MessageBody>(response: &ServiceResponse<B>) -> Self {
        let request = response.request();
        let info = request.match_info();
        Self {
            what: What::of(response),
            pattern: request.match_pattern(),
            is_whole: info.unprocessed().is_empty(),
        }
    }

    fn of_error(status: StatusCode) -> Self {
        Self { what: What::Open(Open::empty(status)), pattern: None, is_whole: false }
    }

    fn silent() -> Self {
        Self {
            what: What::Open(Open { status: None, body: BodySize::None, content_type: None }),
            pattern: None,
            is_whole: false,
        }
    }
}

impl What {
    fn of<B: MessageBody>(response: &ServiceResponse<B>) -> Self {
        let status = response.status();
        let body = response.response().body().size();
        match response.response().extensions().get::<Mark>() {
            Some(Mark::Rejected) => return Self::Rejected,
            Some(Mark::RejectedAtHandler) => return Self::RejectedAtHandler,
            Some(Mark::NoAppKeys) => return Self::NoAppKeys,
            None => {}
        }
        if passed_without_key(response.request()) {
            return Self::Optional;
        }
        let nothing = matches!(body, BodySize::None | BodySize::Sized(0));
        if nothing && matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Self::Empty(status);
        }
        Self::Open(Open {
            status: Some(status),
            body,
            content_type: response.headers().get(CONTENT_TYPE).cloned(),
        })
    }
}

fn passed_without_key(request: &HttpRequest) -> bool {
    request.extensions().get::<Anonymous>().is_some()
}
