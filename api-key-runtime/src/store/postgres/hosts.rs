//! URLs with several hosts. The host that was the last known primary is tried first.
//!
//! libpq itself always starts with the first host. If the first host does not respond after a
//! failover, every new connection would take two seconds longer. This delay exceeds the default
//! lookup timeout.

use std::{
    collections::HashMap,
    env,
    sync::{LazyLock, Mutex},
};

use diesel::{
    ConnectionError::{self, BadConnection, CouldntSetupConfiguration},
    PgConnection,
};

use super::{after_credentials, connect::with_parameter, is_standby};
use crate::{foreign_texts::is_about_a_server, lock::lock, log};

/// For each list of hosts, the position of the last known primary.
static LAST_PRIMARY: LazyLock<Mutex<HashMap<Hosts, usize>>> = LazyLock::new(Mutex::default);

/// Two or more hosts in the order of the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hosts(Vec<Host>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Host {
    name: String,
    /// The port. If the port is empty or `None`, libpq uses its default port.
    port: Option<String>,
}

impl Hosts {
    /// Returns the hosts that a URL or connection string lists. Returns `None` if libpq must
    /// choose: for a single host, another kind of address, a random order, or an ambiguous text.
    pub(super) fn of(url: &str) -> Option<Self> {
        // Some of these parameters change how libpq chooses the host. This code also does not parse
        // quotes, escapes, or spaces around `=`.
        let left_to_libpq = ["hostaddr=", "service=", "load_balance_hosts=", "'", "\\", " =", "= "];
        let environment = ["PGHOSTADDR", "PGPORT", "PGSERVICE", "PGLOADBALANCEHOSTS"];
        if left_to_libpq.iter().any(|text| url.contains(text))
            || environment.iter().any(|name| env::var_os(name).is_some())
        {
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
        let mut hosts: Vec<_> = self.0.iter().enumerate().collect();
        hosts.sort_by_key(|(position, _)| *position != last);
        let (mut standby, mut failures) = (None, Vec::new());
        for (position, host) in hosts {
            match establish(&host.in_place_of_all(url)) {
                Ok(mut connection) => match is_standby(&mut connection) {
                    Ok(false) => {
                        lock(&LAST_PRIMARY).insert(self.clone(), position);
                        return Ok(connection);
                    }
                    Ok(true) => standby = Some(connection),
                    Err(error) => failures.push(CouldntSetupConfiguration(error)),
                },
                Err(error) => failures.push(error),
            }
        }
        if standby.is_some() && !failures.is_empty() {
            log::debug!("only a standby accepts connections; other hosts: {}", joined(&failures));
        }
        standby.ok_or_else(|| one_of(failures))
    }
}

impl Host {
    /// Returns the URL with this host alone. An appended parameter overrides an earlier parameter
    /// of the same name.
    fn in_place_of_all(&self, url: &str) -> String {
        let url = with_parameter(url.to_owned(), "host", &self.name);
        match &self.port {
            Some(port) => with_parameter(url, "port", port),
            None => url,
        }
    }
}

/// Returns the most informative error. Prefers an error from a server, then an error about an
/// unreadable URL. Otherwise joins the errors of all hosts.
fn one_of(mut failures: Vec<ConnectionError>) -> ConnectionError {
    let unreadable =
        |error: &ConnectionError| matches!(error, BadConnection(text) if !is_about_a_server(text));
    let refused = |error: &ConnectionError| !matches!(error, BadConnection(_));
    match failures.iter().position(refused).or_else(|| failures.iter().position(unreadable)) {
        Some(position) => failures.swap_remove(position),
        None => BadConnection(joined(&failures)),
    }
}

/// Joins the errors that name a server. Leaves out other errors, because they may quote a password.
fn joined(failures: &[ConnectionError]) -> String {
    let texts = failures.iter().map(ToString::to_string);
    texts.filter(|text| is_about_a_server(text)).collect::<Vec<_>>().join("; ")
}

/// Takes the part of a URL after its credentials, and returns the hosts.
fn in_url(place: &str) -> Option<Vec<Host>> {
    let (address, parameters) = place.split_once('?').unwrap_or((place, ""));
    // With an `@` here, the text may still contain part of a password.
    if address.contains('@') || parameters.contains('@') {
        return None;
    }
    let authority = address.split('/').next()?;
    if let Some(hosts) = listed(&parameters.split('&')) {
        return authority.is_empty().then_some(hosts);
    }
    if parameters.split('&').any(|parameter| parameter.starts_with("port=")) {
        return None;
    }
    authority
        .split(',')
        .map(|entry| {
            let (host, port) = match entry.strip_prefix('[') {
                Some(entry) => entry.split_once(']')?,
                None => entry.split_at(entry.find(':').unwrap_or(entry.len())),
            };
            let port = Some(port.trim_start_matches(':').to_owned());
            Some(Host { name: host.to_owned(), port })
        })
        .collect()
}

/// Returns the hosts of `host=a,b` and `port=1,2` among these parameters. A single port applies to
/// every host.
fn listed<'a>(parameters: &(impl Iterator<Item = &'a str> + Clone)) -> Option<Vec<Host>> {
    let value = |name| {
        let values = parameters.clone().filter_map(|parameter| parameter.split_once('='));
        values.filter(|(key, _)| *key == name).map(|(_, value)| value).last()
    };
    let hosts: Vec<&str> = value("host")?.split(',').collect();
    let ports: Vec<&str> = value("port").map_or_else(Vec::new, |ports| ports.split(',').collect());
    if ports.len() > 1 && ports.len() != hosts.len() {
        return None;
    }
    let host = |(position, name): (usize, &str)| Host {
        name: name.to_owned(),
        port: ports.get(position).or(ports.first()).map(|&port| port.to_owned()),
    };
    Some(hosts.into_iter().enumerate().map(host).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // K6
    #[test]
    fn hosts_are_read_as_libpq_reads_them() {
        for (url, expected) in [
            ("postgres://u:p@a,b:5433/d", "a: b:5433"),
            ("postgres://[::1]:1,[::2],c/d?sslmode=require", "::1:1 ::2: c:"),
            ("postgres:///d?host=a,b&port=1,2", "a:1 b:2"),
            ("postgres:///d?host=a,b", "a b"),
            ("host=a,b port=5433 dbname=d", "a:5433 b:5433"),
            ("host=a,b dbname=d", "a b"),
            ("postgres://a/d", ""),
            ("postgres:///d", ""),
            ("postgres://u:p,q@a/d", ""),
            ("postgres://u:p/q,r@a/d", ""),
            ("postgres://a,b/d?hostaddr=127.0.0.1,127.0.0.2", ""),
            ("postgres://a,b/d?load_balance_hosts=random", ""),
            ("postgres://a,b/d?port=1,2", ""),
            ("postgres://c:1,d:2/d?host=a,b", ""),
            ("host=a,b port = 1,2", ""),
            ("host=a,b port=1,2,3 dbname=d", ""),
            ("host=a,b port=1,2 dbname=d password='x host=y,z'", ""),
        ] {
            let hosts = Hosts::of(url).map_or_else(Vec::new, |hosts| hosts.0);
            let shown: Vec<String> = hosts
                .into_iter()
                .map(|Host { name, port }| {
                    name + &port.map_or(String::new(), |port| format!(":{port}"))
                })
                .collect();
            assert_eq!(shown.join(" "), expected, "{url}");
        }
    }

    // K6
    /// Nothing listens on these ports, so libpq reports each host if it can read the text.
    #[test]
    fn libpq_reads_the_text_for_each_host() {
        for url in [
            "postgres://u:p@127.0.0.1:1,127.0.0.1:2/d",
            "postgres://u:p@127.0.0.1:1,nowhere.invalid/d",
            "postgres://u:p@nowhere.invalid,nowhere.invalid/d",
            "postgres:///d?host=127.0.0.1,nowhere.invalid&port=1",
            "host=127.0.0.1,nowhere.invalid port=1,2 dbname=d",
            "host=nowhere.invalid,nowhere.invalid dbname=d",
        ] {
            let hosts = Hosts::of(url).unwrap();
            let error =
                hosts.connect(url, diesel::Connection::establish).err().unwrap().to_string();
            assert!(is_about_a_server(&error), "{url}: {error}");
            assert_eq!(error.split("; ").count(), 2, "{url}: {error}");
        }
    }

    #[test]
    fn an_unreadable_text_is_reported_without_its_password() {
        let url = "postgres://u:s3%zzcret@a,b/d";
        let error = Hosts::of(url).unwrap().connect(url, diesel::Connection::establish).err();
        assert!(!is_about_a_server(&error.unwrap().to_string()));
    }
}
