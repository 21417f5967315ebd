//! Opens connections to Postgres with the settings that key lookups need.

use diesel::{Connection as _, ConnectionError, PgConnection, connection::CacheSize};

use super::hosts::Hosts;
use crate::{error::Error, foreign_texts::is_about_a_server, store::Database};

/// Parameters that are added unless the URL sets them. With these parameters, a silently broken
/// connection blocks a thread for seconds instead of hours.
const TIMEOUTS: [(&str, &str); 5] = [
    // Seconds. Older releases of libpq treat 1 as 2.
    ("connect_timeout", "2"),
    // Together, the keepalive settings detect a broken connection within about eight seconds.
    ("keepalives_idle", "5"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "3"),
    // Milliseconds.
    ("tcp_user_timeout", "5000"),
];

/// The parameters that libpq accepts, up to release 18.
const PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The allowed values of some parameters.
const VALUES: &[(&str, &str)] = &[
    ("sslmode", "disable allow prefer require verify-ca verify-full"),
    ("target_session_attrs", "any read-write read-only primary standby prefer-standby"),
    ("channel_binding", "disable prefer require"),
    ("gssencmode", "disable prefer require"),
    ("load_balance_hosts", "disable random"),
];

/// Connects to the Postgres server of this URL. If the URL names several hosts, connects to a
/// primary among them.
pub(crate) fn connect(database: &Database, url: &str) -> Result<PgConnection, Error> {
    let with_timeouts = with_timeouts(url);
    let established = match Hosts::of(url) {
        Some(hosts) => hosts.connect(&with_timeouts, PgConnection::establish),
        None => PgConnection::establish(&with_timeouts),
    };
    let mut connection = established.map_err(|source| not_connected(database, url, source))?;
    // A transaction pooler may run the statements of one client over different server connections,
    // which do not share prepared statements.
    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    Ok(connection)
}

fn not_connected(database: &Database, url: &str, source: ConnectionError) -> Error {
    // The server, or a pooler in front of it, rejected the first statement.
    if let ConnectionError::CouldntSetupConfiguration(source) = source {
        return Error::database(format!("{database} accepts connections but not queries"), source);
    }
    if is_about_a_server(&source.to_string()) {
        return Error::database(format!("cannot connect to {database}"), source);
    }
    let cause = unusable_parameter(url).unwrap_or_else(|| {
        "libpq cannot read its URL or service settings (details are not shown, because they may \
         contain the password). In the user and password of a URL write % as %25, @ as %40, : as \
         %3A and / as %2F"
            .to_owned()
    });
    Error::config(format!("cannot connect to {database}: {cause}"))
}

fn is_secret(parameters: &str) -> bool {
    let parameters = parameters.to_ascii_lowercase();
    ["password", "secret", "pass", "_key"].iter().any(|word| parameters.contains(word))
}

/// Returns a message that names the parameter that libpq rejects in a URL. The message never
/// includes the value from the URL. Returns `None` if a password may be among the parameters.
fn unusable_parameter(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let place = after_credentials(rest);
    let (address, parameters) = place.split_once('?')?;
    // `parameters` may contain a part of a password: in a URL without a host
    // (`postgres://user:pass?word`), or after `&` in a parameter (`password=pass&word`).
    let has_port = |host: &str| match host.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()) || host.ends_with(']'),
        None => true,
    };
    let hosts = address.split('/').next().unwrap_or_default();
    if parameters.contains(['@']) || is_secret(parameters) || !hosts.split(',').all(has_port) {
        return None;
    }
    parameters.split('&').find_map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_word = (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !is_word {
            return None;
        }
        if !PARAMETERS.contains(&name) {
            return Some(format!(
                "libpq does not support the parameter `{name}` of the URL; remove it"
            ));
        }
        let (_, values) = VALUES.iter().find(|(parameter, _)| *parameter == name)?;
        let is_known = values.split(' ').any(|known| known == value);
        (!is_known)
            .then(|| format!("libpq does not support this value of `{name}`; use one of: {values}"))
    })
}

fn with_timeouts(url: &str) -> String {
    TIMEOUTS.iter().fold(url.to_owned(), |url, (name, value)| {
        if url.contains(&format!("{name}=")) { url } else { with_parameter(url, name, value) }
    })
}

/// Appends a parameter to a URL or connection string.
pub(super) fn with_parameter(mut url: String, name: &str, value: &str) -> String {
    let separator = match url.split_once("://") {
        Some((_, rest)) if after_credentials(rest).contains('?') => '&',
        Some(_) => '?',
        None => ' ',
    };
    url.push(separator);
    url.push_str(name);
    url.push('=');
    url.push_str(value);
    url
}

/// Takes a URL without its scheme, and returns the part after the user and password. As in libpq,
/// the user and password end at the first `@`, unless a `/` precedes that `@`.
pub(crate) fn after_credentials(url: &str) -> &str {
    match url.split_once('@') {
        Some((credentials, place)) if !credentials.contains('/') => place,
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::open;

    #[test]
    fn timeouts_are_added_where_none_are_named() {
        const REST: &str =
            "keepalives_idle=5&keepalives_interval=1&keepalives_count=3&tcp_user_timeout=5000";
        let cases = [
            ("postgres://h/d", "postgres://h/d?connect_timeout=2&"),
            ("postgres://h/d?sslmode=require", "postgres://h/d?sslmode=require&connect_timeout=2&"),
            ("postgres://u:p?w@h/d", "postgres://u:p?w@h/d?connect_timeout=2&"),
            ("postgres://h/d?connect_timeout=9", "postgres://h/d?connect_timeout=9&"),
        ];
        for (url, expected) in cases {
            assert_eq!(with_timeouts(url), format!("{expected}{REST}"));
        }
        assert_eq!(
            with_timeouts("host=h dbname=d keepalives_count=9 tcp_user_timeout=0"),
            "host=h dbname=d keepalives_count=9 tcp_user_timeout=0 connect_timeout=2 keepalives_idle=5 keepalives_interval=1"
        );
    }

    // F14
    #[test]
    fn a_parameter_that_libpq_does_not_take_is_named() {
        for (url, expected) in [
            ("postgres://u:s3cret@h/d?schema=shop", "the parameter `schema`"),
            ("postgres://u:s3cret@h/d?connect_timeout=2&sslmode=requir", "this value of `sslmode`"),
            ("postgres://u:s3cret@h/d?application_name=x", "libpq cannot read"),
            ("postgres://u:s3?cret=x@h/d?schema=s", "the parameter `schema`"),
            ("host=h schema=s3cret", "libpq cannot read"),
            ("postgres://h/d?user=u&password=hunter&secretpart", "libpq cannot read"),
            ("postgres://u:abc?secretpart", "libpq cannot read"),
            ("postgres://h:5432,[::1]:5433/d?&schema=x", "the parameter `schema`"),
        ] {
            let database = Database::parse(url).unwrap();
            let source = ConnectionError::BadConnection("quotes s3cret".to_owned());
            let message = not_connected(&database, url, source).to_string();
            assert!(message.contains(expected), "{message}");
            assert!(
                !["s3cret", "secretpart", "requir;"].iter().any(|part| message.contains(part)),
                "{message}"
            );
        }
    }

    #[test]
    fn an_error_about_an_unreadable_url_shows_no_part_of_it() {
        for url in [
            "postgres://u:s3%zzcret@h/d",
            "postgres://u:s3cret@[::1/d",
            "postgres://u:s3/cret@h/d",
            "host=h password=s3 cret",
        ] {
            let error = open(&Database::parse(url).unwrap()).err().unwrap();
            assert!(error.is_config());
            let message = error.to_string();
            assert!(!message.contains("s3") && !message.contains("cret"), "{message}");
        }
        // postgres://u:s3@cret@h/d
        assert!(!is_about_a_server(
            "could not translate host name \"cret@h\" to address: Name or service not known"
        ));
        assert!(is_about_a_server(
            "could not translate host name \"h\" to address: Name or service not known"
        ));
    }
}
