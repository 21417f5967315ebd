use actix_web::{App, Error, HttpServer, get};
use actix_web::{body::MessageBody, dev::{ServiceRequest, ServiceResponse}};
use api_key_runtime::{AppKeyExt as _, AppKeys, KeyLocation, require_app_key};
use tracing::{Span, field::Empty, info_span};
use tracing_actix_web::{RootSpanBuilder, TracingLogger};

struct Redacted;

impl RootSpanBuilder for Redacted {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let target = request.uri().to_string();
        let target = request.app_data::<AppKeys>().map(|keys| keys.redact(&target));
        info_span!("request", method = %request.method(), target, status = Empty, app_key = Empty)
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        if let Ok(response) = outcome {
            span.record("status", response.status().as_u16());
            span.record("app_key", response.app_key().map(|key| key.id()));
        }
    }
}

#[get("/orders")]
#[require_app_key]
async fn orders() -> &'static str {
    "[]"
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let locations = [KeyLocation::bearer(), KeyLocation::query("key")];
    let keys = AppKeys::builder().env()?.key_locations(locations).build()?;
    let app = move || {
        let spans = TracingLogger::<Redacted>::new();
        App::new().app_data(keys.clone()).service(orders).wrap(spans)
    };
    HttpServer::new(app).bind("127.0.0.1:8080")?.run().await?;
    Ok(())
}
