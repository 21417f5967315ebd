//! URLs with several hosts. The host that was a primary last is tried first.
//!
//! libpq starts with the first host each time. If the first host does not respond after a failover,
//! every new connection would take two seconds longer, and a lookup times out before that.

use std::{
    collections::HashMap,
    iter,
    sync::{LazyLock, Mutex},
};

use diesel::{ConnectionError, PgConnection};

use super::{after_credentials, connect::with_parameter, is_standby};
use crate::{foreign_texts::is_about_a_server, lock::lock};

/// The position of the host that was last a primary, by list of hosts.
static LAST_PRIMARY: LazyLock<Mutex<HashMap<Hosts, usize>>> = LazyLock::new(Mutex::default);

/// Two or more hosts, each with its port. A port is empty if the URL does not name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hosts(Vec<(String, String)>);

impl Hosts {
    /// Returns the hosts that a URL or connection string lists. Returns `None` if libpq must
    /// choose: for a single host, another kind of address, a random order, or an ambiguous text.
    pub(super) fn of(url: &str) -> Option<Self> {
        let left_to_libpq = ["hostaddr=", "service=", "load_balance_hosts=", "'", "\\"];
        if left_to_libpq.iter().any(|text| url.contains(text)) {
            return None;
        }
        let hosts = match url.split_once("://") {
            Some((_, rest)) => in_url(after_credentials(rest))?,
            None => listed(&url.split_whitespace())?,
        };
        (hosts.len() > 1).then_some(Self(hosts))
    }

    /// Connects to the first host that is a primary. Returns a connection to a standby if no host
    /// is a primary.
    pub(super) fn connect(
        &self,
        url: &str,
        establish: impl Fn(&str) -> Result<PgConnection, ConnectionError>,
    ) -> Result<PgConnection, ConnectionError> {
        let last = lock(&LAST_PRIMARY).get(self).copied().unwrap_or(0);
        let others = (0..self.0.len()).filter(|&position| position != last);
        let (mut standby, mut refused, mut unreachable) = (None, None, Vec::new());
        for position in iter::once(last).chain(others) {
            let Some(url) = self.url_of(position, url) else { continue };
            match establish(&url) {
                Ok(mut connection) => {
                    if matches!(is_standby(&mut connection), Ok(false)) {
                        lock(&LAST_PRIMARY).insert(self.clone(), position);
                        return Ok(connection);
                    }
                    standby = Some(connection);
                }
                Err(ConnectionError::BadConnection(text)) if is_about_a_server(&text) => {
                    unreachable.push(text);
                }
                // If the URL is unreadable, the error is the same for every host.
                Err(error @ ConnectionError::BadConnection(_)) => return Err(error),
                Err(error) => refused = Some(error),
            }
        }
        let unreachable = || ConnectionError::BadConnection(unreachable.join("; "));
        standby.ok_or_else(|| refused.unwrap_or_else(unreachable))
    }

    /// Returns the URL with one host. A later parameter overrides an earlier one.
    fn url_of(&self, position: usize, url: &str) -> Option<String> {
        let (host, port) = self.0.get(position)?;
        let mut url = with_parameter(url.to_owned(), "host", host);
        if !port.is_empty() {
            url = with_parameter(url, "port", port);
        }
        Some(url)
    }
}

/// Returns the hosts of a URL, given the part after its credentials.
fn in_url(place: &str) -> Option<Vec<(String, String)>> {
    let (address, parameters) = place.split_once('?').unwrap_or((place, ""));
    // The text contains the end of a password.
    if address.contains('@') || parameters.contains('@') {
        return None;
    }
    if let Some(hosts) = listed(&parameters.split('&')) {
        return Some(hosts);
    }
    let authority = address.split('/').next()?;
    authority
        .split(',')
        .map(|entry| {
            let (host, port) = match entry.strip_prefix('[') {
                Some(entry) => entry.split_once(']')?,
                None => entry.split_at(entry.find(':').unwrap_or(entry.len())),
            };
            Some((host.to_owned(), port.trim_start_matches(':').to_owned()))
        })
        .collect()
}

/// Returns the hosts of `host=a,b` and `port=1,2` among these parameters. A single port applies to
/// every host.
fn listed<'a>(
    parameters: &(impl Iterator<Item = &'a str> + Clone),
) -> Option<Vec<(String, String)>> {
    let value = |name| {
        let values = parameters.clone().filter_map(|parameter| parameter.split_once('='));
        values.filter(|(key, _)| *key == name).map(|(_, value)| value).last()
    };
    let hosts = value("host")?;
    let ports: Vec<&str> = value("port").unwrap_or_default().split(',').collect();
    let port_of = |position: usize| match ports.as_slice() {
        [port] => Some(*port),
        ports => ports.get(position).copied(),
    };
    let hosts = hosts.split(',').enumerate();
    hosts.map(|(position, host)| Some((host.to_owned(), port_of(position)?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // K6
    #[test]
    fn hosts_are_read_as_libpq_reads_them() {
        let none: &[(&str, &str)] = &[];
        for (url, expected) in [
            ("postgres://u:p@a,b:5433/d", [("a", ""), ("b", "5433")].as_slice()),
            (
                "postgres://[::1]:1,[::2],c/d?sslmode=require",
                &[("::1", "1"), ("::2", ""), ("c", "")],
            ),
            ("postgres:///d?host=a,b&port=1,2", &[("a", "1"), ("b", "2")]),
            ("host=a,b port=5433 dbname=d", &[("a", "5433"), ("b", "5433")]),
            ("host=a,b dbname=d", &[("a", ""), ("b", "")]),
            ("postgres://a/d", none),
            ("postgres:///d", none),
            ("postgres://u:p,q@a/d", none),
            ("postgres://u:p/q,r@a/d", none),
            ("postgres://a,b/d?hostaddr=127.0.0.1,127.0.0.2", none),
            ("postgres://a,b/d?load_balance_hosts=random", none),
            ("host=a,b port=1,2,3 dbname=d password='x host=y,z'", none),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(host, port)| ((*host).to_owned(), (*port).to_owned()))
                .collect();
            assert_eq!(Hosts::of(url).map_or_else(Vec::new, |hosts| hosts.0), expected, "{url}");
        }
        let url = "postgres://u:p@[::1],b:5433/d";
        let hosts = Hosts::of(url).unwrap();
        assert_eq!(hosts.url_of(0, url).unwrap(), format!("{url}?host=::1"));
        assert_eq!(hosts.url_of(1, url).unwrap(), format!("{url}?host=b&port=5433"));
    }
}
