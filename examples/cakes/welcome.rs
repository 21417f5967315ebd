//! The text that the service prints at startup: its address, and how to get a key.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use api_key_runtime::{
    AppKeys,
    admin::{ListKeys, NewKey},
};

const SCOPES: &str = "cakes:write cakes:delete";

/// Prints the address. If the table has no keys yet, issues the first key and prints that key,
/// which cannot be shown again. If two processes start on a new database at the same time, each of
/// them may issue a key.
pub(crate) fn print(keys: &AppKeys, listening: SocketAddr) -> Result<(), Box<dyn Error>> {
    let admin = keys.admin()?;
    let service = callable(listening);
    let mut text = format!("\nThe cakes are at http://{service} (Ctrl-C stops it).\n\n");
    if admin.list(&ListKeys::new().limit(1))?.is_empty() {
        // Requests from this machine to its own address have this address as their client IP.
        let new = NewKey::new("first").allow(service.ip().to_string())?.scopes(SCOPES)?;
        let issued = admin.issue(&new)?;
        text += &first_key(service, issued.secret.expose_secret())?;
    }
    writeln!(
        text,
        "To get another key, with the same DATABASE_URL:\ncargo app-key issue --name me --ip {} --scope {}\n",
        service.ip(),
        SCOPES.replace(' ', " --scope ")
    )?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn first_key(service: SocketAddr, key: &str) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "This is the first key. It is valid only from {} and is shown only once:\n\n{key}\n\nTo try it, paste these lines one by one.\n\n",
        service.ip()
    );
    let cakes = format!("http://{service}/api/v1/cakes");
    let form = "-d name=Carrot -d price_cents=450";
    let json = r#"-H 'Content-Type: application/json' -d '{"name":"Lemon","price_cents":390}'"#;
    let with_key = format!("-H 'Authorization: Bearer {key}'");
    let with_header = format!("-H 'X-API-Key: {key}'");
    let with_typo = format!("-H 'Authorization: Bearer {}'", mistyped(key));
    let mut line = |what: &str, status: u16, arguments: String| {
        let curl = r"curl -sS -w '  HTTP %{http_code}\n'";
        writeln!(text, "{what} ({status}):\n{curl} {arguments}\n")
    };
    line("Anyone may list the cakes", 200, cakes.clone())?;
    line("Baking a cake requires a key", 401, format!("{form} {cakes}"))?;
    line("With the key it works", 201, format!("{with_key} {form} {cakes}"))?;
    line(
        "JSON works like a form, and X-API-Key like Authorization",
        201,
        format!("{with_header} {json} {cakes}"),
    )?;
    line("A mistyped key is rejected", 401, format!("{with_typo} {form} {cakes}"))?;
    line(
        "The key in the URL, as in the Flask recipe; leave this out of a new service",
        200,
        format!("'http://{service}/whoami?key={key}'"),
    )?;
    line("Deleting a cake requires a key too", 200, format!("{with_key} -X DELETE {cakes}/1"))?;
    Ok(text)
}

/// Returns an address at which this machine can reach a server that listens on `listening`.
fn callable(mut listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => listening.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => listening.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listening
}

/// Returns the key with its last character changed.
fn mistyped(key: &str) -> String {
    let mut changed = key.to_owned();
    let last = changed.pop();
    changed.push(if last == Some('a') { 'b' } else { 'a' });
    changed
}
