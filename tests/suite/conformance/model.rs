//! A second, simple implementation of the guard's rules, for one valid key. A test compares both
//! implementations with random requests.

use std::{net::IpAddr, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::HeaderValue},
    web,
};

use super::{
    product,
    serving::{Configure, Entrances, Served},
    target::{ALL_OF, Guard, Keys, Target},
};
use crate::support::fixtures;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Recipe,
    Proxied,
}

/// One configuration of the service.
#[derive(Clone)]
struct Door {
    kind: Kind,
    /// The only valid key, for any address and without scopes.
    key: String,
}

/// Serves the model. Doors that random requests do not use are like the plain door.
pub(super) fn serve() -> Served {
    let (clock, now) = product::clock();
    let keys = Keys::new(now, |_| fixtures::unknown());
    let door = |kind| -> Configure {
        let door = Door { kind, key: keys.active.clone() };
        Arc::new(move |config| {
            config.app_data(door.clone()).default_service(web::to(answer));
        })
    };
    let entrances = Entrances {
        plain: door(Kind::Plain),
        recipe: door(Kind::Recipe),
        proxied: door(Kind::Proxied),
        cors: door(Kind::Plain),
        failing: door(Kind::Plain),
        unconfigured: door(Kind::Plain),
    };
    Served::new(entrances, None, |doors| Target {
        doors,
        keys,
        guard: Guard::default(),
        clock,
        now,
    })
}

async fn answer(request: HttpRequest) -> HttpResponse {
    let door: &Door = request.app_data().unwrap();
    let client_ip = door.client_ip(&request);
    let is_optional = request.path() == "/optional";
    let cake = match request.path() {
        "/public" => return HttpResponse::Ok().body("public"),
        "/guarded" | "/optional" | "/scopes/all" | "/number/1" => "cake".to_owned(),
        "/from" => client_ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()),
        _ => return HttpResponse::NotFound().finish(),
    };
    match &door.credentials(&request)[..] {
        [] if is_optional => HttpResponse::Ok().body(cake),
        [] => rejection(StatusCode::UNAUTHORIZED, ""),
        [key] if *key != door.key.as_bytes() => {
            rejection(StatusCode::UNAUTHORIZED, ", error=\"invalid_token\"")
        }
        [_] if request.path() == "/scopes/all" => {
            let parameters = format!(", error=\"insufficient_scope\", scope=\"{ALL_OF}\"");
            rejection(StatusCode::FORBIDDEN, &parameters)
        }
        [_] => HttpResponse::Ok().body(cake),
        _ => rejection(StatusCode::BAD_REQUEST, ", error=\"invalid_request\""),
    }
}

fn rejection(status: StatusCode, parameters: &str) -> HttpResponse {
    let challenge = format!("Bearer realm=\"model\"{parameters}");
    HttpResponse::build(status).insert_header(("WWW-Authenticate", challenge)).finish()
}

impl Door {
    /// Returns every credential of the request. More than one credential is an error, even if all
    /// are equal.
    fn credentials(&self, request: &HttpRequest) -> Vec<Vec<u8>> {
        let values = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
        let bearers: Vec<&[u8]> = values("authorization").filter_map(bearer).collect();
        let mut found: Vec<Vec<u8>> = bearers.iter().map(|value| value.to_vec()).collect();
        if !bearers.is_empty() {
            // A bearer credential must be in the only `Authorization` line. A line with another
            // scheme counts as a second credential.
            let others = values("authorization").filter(|line| bearer(line).is_none());
            found.extend(others.map(<[u8]>::to_vec));
        }
        found.extend(values("x-api-key").map(<[u8]>::to_vec));
        if self.kind == Kind::Recipe {
            found.extend(parameters(request.query_string()));
            let pairs = values("cookie").flat_map(|line| line.split(|&byte| byte == b';'));
            let named = pairs.filter_map(|pair| pair.trim_ascii_start().strip_prefix(b"app_key="));
            found.extend(named.map(<[u8]>::to_vec));
        }
        found
    }

    fn client_ip(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
        if self.kind != Kind::Proxied || !peer.is_some_and(is_trusted) {
            return peer;
        }
        let lines: Vec<String> = request
            .headers()
            .get_all("x-forwarded-for")
            .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
            .collect();
        let hops: Vec<&str> = lines
            .iter()
            .flat_map(|line| line.split(','))
            .map(|hop| hop.trim_matches([' ', '\t']))
            .collect();
        for hop in hops.iter().rev().take(32) {
            let hop = hop_address(hop)?;
            if !is_trusted(hop) {
                return Some(hop);
            }
        }
        None
    }
}

/// Returns the bearer credential, or `None` for another scheme. A line without a scheme counts as
/// an empty bearer credential.
fn bearer(line: &[u8]) -> Option<&[u8]> {
    let is_token = |&byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (scheme, value) = line.split_at(end);
    if scheme.is_empty() || !scheme.iter().all(is_token) {
        return Some(b"");
    }
    scheme.eq_ignore_ascii_case(b"bearer").then(|| value.trim_ascii())
}

/// Returns the values of `key` in a query. A value that cannot be decoded is replaced by an invalid
/// key.
fn parameters(query: &str) -> Vec<Vec<u8>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .filter(|(name, _)| decode(name.as_bytes()).is_some_and(|name| name == b"key"))
        .map(|(_, value)| decode(value.as_bytes()).unwrap_or_else(|| b"%".to_vec()))
        .collect()
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                (u8::try_from(digit(high)? * 16 + digit(low)?).ok()?, tail)
            }
            (b'%', _) => return None,
            (byte, tail) => (byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    Some(decoded)
}

fn is_trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [127, 0, 0, 1] | [10, 0, 1, _]))
}

/// Parses an address, with or without a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bracketed = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    let address = match bracketed {
        Some(address) => address.parse().ok().filter(IpAddr::is_ipv6),
        None => (hop.parse().ok())
            .or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip())),
    };
    address
        .map(|address: IpAddr| address.to_canonical())
        .filter(|address| !address.is_unspecified())
}
