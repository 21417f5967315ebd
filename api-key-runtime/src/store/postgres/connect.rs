//! A connection to a Postgres, opened in the one way that is right for keys.

use diesel::{Connection as _, PgConnection, connection::CacheSize};

use crate::{error::Error, foreign_texts::is_about_a_server, store::Database};

/// Parameters that are added where the URL does not name them: a path that died without a word holds a thread for seconds, not for hours.
const TIMEOUTS: [(&str, &str); 5] = [
    // The least that libpq takes.
    ("connect_timeout", "2"),
    // Together: a silent connection is dead after five to eight seconds.
    ("keepalives_idle", "5"),
    ("keepalives_interval", "1"),
    ("keepalives_count", "3"),
    // Milliseconds.
    ("tcp_user_timeout", "5000"),
];

/// Connects to the Postgres of this URL.
pub(crate) fn connect(database: &Database, url: &str) -> Result<PgConnection, Error> {
    let mut connection = PgConnection::establish(&with_timeouts(url))
        .map_err(|source| unreachable(database, source))?;
    // A transaction pooler hands the statements of one client to another.
    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
    Ok(connection)
}

fn unreachable(database: &Database, source: diesel::ConnectionError) -> Error {
    if is_about_a_server(&source.to_string()) {
        Error::database(format!("cannot connect to {database}"), source)
    } else {
        Error::config(format!(
            "cannot connect to {database}: libpq cannot read its URL or service settings (what it says may quote the password and is left out); in \
             user and password of a URL write % as %25, @ as %40, : as %3A and / as %2F"
        ))
    }
}

fn with_timeouts(url: &str) -> String {
    let mut url = url.to_owned();
    for (name, value) in TIMEOUTS {
        if url.contains(&format!("{name}=")) {
            continue;
        }
        let separator = match url.split_once("://") {
            Some((_, rest)) if after_credentials(rest).contains('?') => '&',
            Some(_) => '?',
            None => ' ',
        };
        url.push(separator);
        url.push_str(name);
        url.push('=');
        url.push_str(value);
    }
    url
}

/// What follows user and password in a URL without its scheme: as libpq reads it, they end at the first `@` unless a `/` precedes it.
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

    #[test]
    fn what_libpq_quotes_from_an_unreadable_url_is_not_passed_on() {
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
