//! The parts of a request that may contain a key.

use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderName};

use crate::error::Error;

/// A part of the request that may contain a key.
///
/// The default locations are [`bearer`](Self::bearer) and [`header("X-API-Key")`](Self::header).
/// [`AppKeysBuilder::key_locations`](crate::AppKeysBuilder::key_locations) replaces these defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLocation(pub(super) Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Bearer,
    /// The name of the scheme. [`KeyLocations::check`] validates all names, so the constructors
    /// need not return a `Result`.
    Scheme(String),
    WithoutScheme,
    Header(String),
    Query(String),
    Cookie(String),
}

impl KeyLocation {
    /// Returns the location `Authorization: Bearer KEY` (RFC 6750, section 2.1). A key after
    /// another scheme is ignored, unless another location accepts the scheme.
    #[must_use]
    pub const fn bearer() -> Self {
        Self(Place::Bearer)
    }

    /// Returns the location `Authorization: SCHEME KEY`, such as `Authorization: Api-Key KEY`.
    /// Scheme names are case-insensitive (RFC 9110, section 11.1).
    ///
    /// [`build`](crate::AppKeysBuilder::build) returns an error if the name is not a token (RFC
    /// 9110, section 5.6.2).
    ///
    /// ```
    /// use api_key_runtime::{AppKeys, KeyLocation};
    ///
    /// let builder = AppKeys::builder()
    ///     .key_locations([KeyLocation::authorization("Api-Key"), KeyLocation::bearer()]);
    /// ```
    #[must_use]
    pub fn authorization(scheme: impl Into<String>) -> Self {
        Self(Place::Scheme(scheme.into()))
    }

    /// Returns the location `Authorization: KEY`, without a scheme. A value that contains a space
    /// begins with a scheme, and is ignored unless another key location accepts the scheme.
    #[must_use]
    pub const fn authorization_without_scheme() -> Self {
        Self(Place::WithoutScheme)
    }

    /// Returns the location of a header that contains only the key, such as `X-API-Key`.
    #[must_use]
    pub fn header(name: impl Into<String>) -> Self {
        Self(Place::Header(name.into()))
    }

    /// Returns the location of a query parameter, such as `?key=KEY`, as in the Flask recipe that
    /// this crate mirrors.
    ///
    /// Do not use this location in a new service: URLs are written to logs, browser histories and
    /// `Referer` headers (RFC 6750, section 2.3).
    #[must_use]
    pub fn query(name: impl Into<String>) -> Self {
        Self(Place::Query(name.into()))
    }

    /// Returns the location of a cookie. Browsers send cookies automatically, so a service that
    /// accepts keys in cookies needs protection against cross-site request forgery (CSRF).
    #[must_use]
    pub fn cookie(name: impl Into<String>) -> Self {
        Self(Place::Cookie(name.into()))
    }
}

/// The validated key locations of an application.
#[derive(Clone, Debug)]
pub(crate) struct KeyLocations(pub(super) Box<[Checked]>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Authorization(Authorization),
    Header(HeaderName),
    Query(Box<str>),
    Cookie(Box<str>),
}

/// The accepted forms of `Authorization`. All forms together are one location, because the header
/// contains one credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) schemes: Vec<Box<str>>,
    pub(super) without_scheme: bool,
}

impl Authorization {
    /// Adds a form, and returns whether the form is new.
    fn add(&mut self, place: &Place) -> Result<bool, Error> {
        let scheme = match place {
            Place::WithoutScheme => return Ok(!std::mem::replace(&mut self.without_scheme, true)),
            Place::Scheme(name) => token(name, "scheme")?,
            _ => "Bearer".into(),
        };
        let is_new = !self.has_scheme(scheme.as_bytes());
        self.schemes.push(scheme);
        Ok(is_new)
    }

    pub(super) fn has_scheme(&self, name: &[u8]) -> bool {
        self.schemes.iter().any(|scheme| scheme.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl KeyLocations {
    pub(crate) fn check(key_locations: &[KeyLocation]) -> Result<Self, Error> {
        let mut authorization = Authorization::default();
        let mut checked = Vec::with_capacity(key_locations.len());
        for location in key_locations {
            let place = match &location.0 {
                place @ (Place::Bearer | Place::Scheme(_) | Place::WithoutScheme) => {
                    if !authorization.add(place)? {
                        return Err(named_twice(location));
                    }
                    continue;
                }
                Place::Header(name) => Checked::Header(header_name(name)?),
                Place::Query(name) => Checked::Query(token(name, "query parameter")?),
                Place::Cookie(name) => Checked::Cookie(token(name, "cookie")?),
            };
            if checked.contains(&place) {
                return Err(named_twice(location));
            }
            checked.push(place);
        }
        if authorization != Authorization::default() {
            checked.insert(0, Checked::Authorization(authorization));
        }
        if checked.is_empty() {
            return Err(Error::config(
                "no key location is configured; pass at least one to AppKeysBuilder::key_locations, such as KeyLocation::bearer()",
            ));
        }
        Ok(Self(checked.into()))
    }

    /// Returns the challenges of a 401 response, which needs at least one challenge (RFC 9110,
    /// section 11.6.1). Each accepted scheme gives one challenge. If no scheme is accepted, each
    /// key location gives a challenge that resembles an `apiKey` security scheme of `OpenAPI`.
    pub(crate) fn challenges(&self, realm: &str) -> Vec<String> {
        let place = |place: &str, name: &str| {
            format!("ApiKey realm=\"{realm}\", in=\"{place}\", name=\"{name}\"")
        };
        let mut others = Vec::new();
        for location in &self.0 {
            others.push(match location {
                Checked::Authorization(Authorization { schemes, .. }) if !schemes.is_empty() => {
                    return schemes
                        .iter()
                        .map(|scheme| format!("{scheme} realm=\"{realm}\""))
                        .collect();
                }
                Checked::Authorization(_) => place("header", AUTHORIZATION.as_str()),
                Checked::Header(name) => place("header", name.as_str()),
                Checked::Query(name) => place("query", name),
                Checked::Cookie(name) => place("cookie", name),
            });
        }
        others
    }

    /// Returns the names of the query parameters that may contain a key.
    pub(crate) fn query_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|location| match location {
            Checked::Query(name) => Some(&**name),
            _ => None,
        })
    }

    /// Returns the names of the headers that are read, as a value of `Vary`.
    pub(crate) fn header_fields(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for location in &self.0 {
            let name = match location {
                Checked::Authorization(_) => AUTHORIZATION.as_str(),
                Checked::Header(name) => name.as_str(),
                Checked::Cookie(_) => COOKIE.as_str(),
                Checked::Query(_) => continue,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }
}

fn named_twice(location: &KeyLocation) -> Error {
    Error::config(format!(
        "duplicate key location {:?}; remove one from AppKeysBuilder::key_locations",
        location.0
    ))
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    let parsed = HeaderName::try_from(name).map_err(|_| {
        Error::config(format!(
            "{name:?} is not a header name; pass a name such as X-API-Key to KeyLocation::header"
        ))
    })?;
    if is_reserved(&parsed) {
        return Err(Error::config(format!(
            "the header {name:?} cannot be a key location; use KeyLocation::bearer(), KeyLocation::authorization(..) or \
             KeyLocation::authorization_without_scheme() for Authorization, and KeyLocation::cookie(..) for a cookie"
        )));
    }
    Ok(parsed)
}

/// Returns whether a header has a fixed purpose, so that it cannot contain only a key or a client
/// IP. Proxies and servers may change or remove hop-by-hop and framing headers. `Authorization` and
/// `Cookie` have their own key locations.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
    .contains(&name.as_str())
}

fn token(name: &str, what: &str) -> Result<Box<str>, Error> {
    if name.is_empty() || !name.bytes().all(is_token_character) {
        return Err(Error::config(format!(
            "invalid {what} name {name:?} in a key location; use only letters, digits, `-` and `_`"
        )));
    }
    Ok(name.into())
}

/// Returns whether a byte is a `tchar` of RFC 9110, section 5.6.2.
pub(super) fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_key_locations_are_rejected_at_start_up() {
        let bad = [
            vec![],
            vec![KeyLocation::bearer(), KeyLocation::bearer()],
            vec![KeyLocation::bearer(), KeyLocation::authorization("bearer")],
            vec![KeyLocation::authorization("Key"), KeyLocation::authorization("KEY")],
            vec![KeyLocation::authorization_without_scheme(); 2],
            vec![KeyLocation::authorization("")],
            vec![KeyLocation::authorization("Api Key")],
            vec![KeyLocation::authorization("Key\"")],
            vec![KeyLocation::header("X-Key"), KeyLocation::header("x-key")],
            vec![KeyLocation::header("")],
            vec![KeyLocation::header("X Key")],
            vec![KeyLocation::header("Authorization")],
            vec![KeyLocation::header("Cookie")],
            vec![KeyLocation::header("Proxy-Authorization")],
            vec![KeyLocation::query("")],
            vec![KeyLocation::query("a=b")],
            vec![KeyLocation::cookie("a;b")],
        ];
        for key_locations in bad {
            assert!(
                KeyLocations::check(&key_locations).unwrap_err().is_config(),
                "{key_locations:?}"
            );
        }
    }

    #[test]
    fn vary_names_the_headers_consulted_once() {
        let key_locations = [
            KeyLocation::bearer(),
            KeyLocation::header("X-API-Key"),
            KeyLocation::query("key"),
            KeyLocation::cookie("a"),
            KeyLocation::cookie("b"),
        ];
        assert_eq!(
            KeyLocations::check(&key_locations).unwrap().header_fields(),
            "authorization, x-api-key, cookie"
        );
    }

    // K1
    #[test]
    fn the_challenges_name_what_is_accepted() {
        let challenges = |key_locations: &[KeyLocation]| {
            KeyLocations::check(key_locations).unwrap().challenges("api").join(", ")
        };
        let header = KeyLocation::header("X-API-Key");
        assert_eq!(challenges(&[header.clone(), KeyLocation::bearer()]), r#"Bearer realm="api""#);
        assert_eq!(
            challenges(&[KeyLocation::authorization("Api-Key"), KeyLocation::bearer()]),
            r#"Api-Key realm="api", Bearer realm="api""#
        );
        assert_eq!(
            challenges(&[header, KeyLocation::cookie("key")]),
            r#"ApiKey realm="api", in="header", name="x-api-key", ApiKey realm="api", in="cookie", name="key""#
        );
        assert_eq!(
            challenges(&[KeyLocation::authorization_without_scheme(), KeyLocation::query("key")]),
            r#"ApiKey realm="api", in="header", name="authorization", ApiKey realm="api", in="query", name="key""#
        );
    }
}
