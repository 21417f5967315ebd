//! The arguments of the attribute: `scopes = "a b", any_scope = "c d", optional, crate = path`.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Error, Ident, LitStr, Path, Result, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
};

use crate::errors::Errors;

const NAMES: [&str; 4] = ["scopes", "any_scope", "optional", "crate"];

const ALLOWED: &str = r#"`scopes = "..."`, `any_scope = "..."`, `optional` or `crate = path`"#;

const ALLOWED_IN_SCOPES: &str = "use printable ASCII without spaces, double quotes and backslashes";

/// The arguments of the attribute.
#[derive(Default)]
pub(crate) struct Args {
    /// Scopes separated by spaces. A key must have all of them.
    pub(crate) scopes: Option<LitStr>,
    /// Scopes separated by spaces. A key must have at least one of them.
    pub(crate) any_scope: Option<LitStr>,
    /// Whether requests without a key are accepted.
    pub(crate) optional: bool,
    /// The path of the crate `api_key_runtime`. Defaults to `::api_key_runtime`.
    pub(crate) runtime: Option<Path>,
}

impl Args {
    /// Parses all arguments. Skips the rest of an invalid argument, so that one build also reports
    /// the errors of later arguments.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self::default();
        let parsed = (|input: ParseStream<'_>| args.parse_all(input, errors)).parse2(tokens);
        if let Err(fault) = parsed {
            errors.push(fault);
        }
        args
    }

    fn parse_all(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        let mut seen = Vec::new();
        while !input.is_empty() {
            if let Err(fault) = self.parse_one(input, &mut seen) {
                errors.push(fault);
                skip_to_end(input)?;
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    }

    fn parse_one(&mut self, input: ParseStream<'_>, seen: &mut Vec<Ident>) -> Result<()> {
        if !input.peek(Ident::peek_any) {
            return Err(unnamed(input));
        }
        let name = input.call(Ident::parse_any)?;
        if !NAMES.iter().any(|known| name == known) {
            let message = format!("unknown argument `{name}`: write {ALLOWED}");
            return Err(Error::new(name.span(), message));
        }
        if seen.contains(&name) {
            let message = format!("duplicate argument `{name}`: write it once");
            return Err(Error::new(name.span(), message));
        }
        seen.push(name.clone());
        match name.to_string().as_str() {
            "scopes" => self.scopes = Some(scope_list(&name, input)?),
            "any_scope" => self.any_scope = Some(scope_list(&name, input)?),
            "optional" => self.optional = flag(&name, input)?,
            _ => self.runtime = Some(runtime_path(&name, input)?),
        }
        if is_at_end(input) {
            Ok(())
        } else {
            Err(input.error("expected a comma between two arguments"))
        }
    }
}

/// Returns whether the current argument ends here.
fn is_at_end(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

fn skip_to_end(input: ParseStream<'_>) -> Result<()> {
    while !is_at_end(input) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Returns the error for an argument that does not begin with a name.
fn unnamed(input: ParseStream<'_>) -> Error {
    let message = match input.fork().parse::<LitStr>() {
        Ok(literal) => {
            let value = literal.value();
            format!("expected a named argument: write `scopes = {value:?}`")
        }
        Err(_) => format!("expected an argument: write {ALLOWED}"),
    };
    input.error(message)
}

fn flag(name: &Ident, input: ParseStream<'_>) -> Result<bool> {
    if is_at_end(input) {
        Ok(true)
    } else {
        let message = format!("`{name}` takes no value: write `{name}` alone");
        Err(input.error(message))
    }
}

fn scope_list(name: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let message =
        format!(r#"`{name}` takes a string literal: write `{name} = "orders:read orders:write"`"#);
    let literal: LitStr = value(name, input, &message, <LitStr as Parse>::parse)?;
    match check_scopes(name, &literal.value()) {
        // The new literal is an ordinary string literal, even if the user wrote a raw string.
        Ok(()) => Ok(LitStr::new(&literal.value(), literal.span())),
        Err(message) => Err(Error::new(literal.span(), message)),
    }
}

fn runtime_path(name: &Ident, input: ParseStream<'_>) -> Result<Path> {
    let message = "`crate` takes a path: write `crate = path::to::api_key_runtime`";
    value(name, input, message, |input| {
        if input.peek(LitStr) {
            let literal: LitStr = input.parse()?;
            literal.parse_with(Path::parse_mod_style)
        } else {
            input.call(Path::parse_mod_style)
        }
    })
}

/// Parses `= value`. An error points to the token after `=`, or to the name if there is no such
/// token.
fn value<T>(
    name: &Ident,
    input: ParseStream<'_>,
    message: &str,
    read: impl FnOnce(ParseStream<'_>) -> Result<T>,
) -> Result<T> {
    let mut span = name.span();
    if input.parse::<Option<Token![=]>>()?.is_some() {
        if !is_at_end(input) {
            span = input.span();
        }
        if let Ok(value) = read(input) {
            return Ok(value);
        }
    }
    Err(Error::new(span, message))
}

fn check_scopes(name: &Ident, value: &str) -> std::result::Result<(), String> {
    if value.is_empty() {
        return Err(format!("`{name}` is empty: write at least one scope, or remove `{name}`"));
    }
    let mut seen = HashSet::new();
    for scope in value.split(' ') {
        if scope.is_empty() {
            return Err(
                "scopes are separated by exactly one space: remove the other spaces".to_owned()
            );
        }
        if let Some((character, instead)) = scope.chars().find_map(|c| Some((c, instead_of(c)?))) {
            return Err(format!("{character:?} is not allowed in a scope: {instead}"));
        }
        if !seen.insert(scope) {
            return Err(format!("duplicate scope `{scope}`: write it once"));
        }
    }
    Ok(())
}

/// Returns the advice for a character that is not allowed in a scope. RFC 6749, section 3.3, allows
/// `,` and `*`, but this crate does not. People write `,` as a separator and `*` as a wildcard, and
/// neither would have this effect.
fn instead_of(character: char) -> Option<&'static str> {
    match character {
        ',' => Some("separate scopes by spaces"),
        '*' => Some("wildcards are not supported, so write each scope in full"),
        '"' | '\\' => Some(ALLOWED_IN_SCOPES),
        _ if character.is_ascii_graphic() => None,
        _ => Some(ALLOWED_IN_SCOPES),
    }
}
