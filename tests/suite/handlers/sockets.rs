//! WebSocket handlers: the key is checked before the connection becomes a socket.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, get, web};
use api_key_runtime::{AppKey, require_app_key};

use super::{ran, runs};
use crate::support::{Database, Server, fixtures, http};

/// Answers the first message with the key's name and the message.
fn echo(
    path: &str,
    key: AppKey,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    ran(path);
    let (response, mut session, mut messages) = actix_ws::handle(request, body)?;
    actix_web::rt::spawn(async move {
        if let Some(Ok(actix_ws::Message::Text(text))) = messages.recv().await {
            let _ = session.text(format!("{}: {text}", key.name())).await;
        }
        let _ = session.close(None).await;
    });
    Ok(response)
}

#[get("/socket/below")]
#[require_app_key]
async fn below(
    request: HttpRequest,
    key: AppKey,
    body: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    echo("/socket/below", key, &request, body)
}

#[require_app_key]
#[get("/socket/above")]
async fn above(
    body: web::Payload,
    request: HttpRequest,
    key: AppKey,
) -> Result<HttpResponse, actix_web::Error> {
    echo("/socket/above", key, &request, body)
}

#[require_app_key]
async fn plain(
    key: AppKey,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    echo("/socket/plain", key, &request, body)
}

fn handshake(path: &str, credential: &str) -> String {
    http::head(
        "GET",
        path,
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            credential,
        ],
    )
}

/// RFC 6455, section 5.7: a masked text message of "Hello".
const HELLO: [u8; 11] = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

/// Sends the parts one after the other, and reads once after each part. Returns the received bytes.
fn exchange(server: &Server, parts: [&[u8]; 2]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut received = Vec::new();
    for part in parts {
        // After a rejection, the server may have closed the connection.
        let _ = stream.write_all(part);
        let mut buffer = [0; 4096];
        if let Ok(length) = stream.read(&mut buffer) {
            received.extend_from_slice(&buffer[..length]);
        }
    }
    received
}

// B14
#[test]
fn an_upgrade_is_checked_before_101() {
    let database = Database::sqlite();
    let server = Server::start(database.keys(), |config| {
        config.service(below).service(above).route("/socket/plain", web::get().to(plain));
    });
    let (key, _) = database.issue("0.0.0.0");
    let good = format!("X-API-Key: {key}");
    let unknown = format!("X-API-Key: {}", fixtures::unknown());
    for path in ["/socket/below", "/socket/above", "/socket/plain"] {
        for credential in ["X-Nothing: presented", &unknown] {
            let refused = exchange(&server, [handshake(path, credential).as_bytes(), &HELLO]);
            let refused = String::from_utf8_lossy(&refused);
            assert!(refused.starts_with("HTTP/1.1 401 "), "{path}: {refused}");
            assert!(!refused.contains(" 101 "), "{path}: {refused}");
            assert!(!refused.contains("Hello"), "{path}: {refused}");
        }
        assert_eq!(runs(path), 0, "{path}");
        let upgraded = exchange(&server, [handshake(path, &good).as_bytes(), &HELLO]);
        let upgraded = String::from_utf8_lossy(&upgraded);
        assert!(upgraded.starts_with("HTTP/1.1 101 "), "{path}: {upgraded}");
        assert!(
            upgraded.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                || upgraded.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{path}: {upgraded}"
        );
        assert!(upgraded.contains("test: Hello"), "{path}: {upgraded}");
        assert_eq!(runs(path), 1, "{path}");
    }
}
