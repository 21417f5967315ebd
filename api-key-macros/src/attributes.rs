//! Places the other attributes of a handler on the outer function or on the inner function.

use proc_macro2::{Delimiter, Literal, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, LitStr, Meta, MetaList, Result, Token, parse::ParseStream, punctuated::Punctuated,
};

use crate::errors::Errors;

/// The macros of actix-web that register the function below them. Each macro is identified by the
/// last segment of its path.
pub(crate) const ROUTES: [&str; 12] = [
    "get", "post", "put", "delete", "head", "connect", "options", "trace", "patch", "query",
    "route", "routes",
];

/// Built-in attributes that move to the outer function. Lint levels on the outer function also
/// apply to the inner function.
pub(crate) const BUILTINS: [&str; 11] = [
    "doc",
    "cfg",
    "allow",
    "warn",
    "deny",
    "forbid",
    "expect",
    "deprecated",
    "must_use",
    "inline",
    "cold",
];

/// The attributes of the outer function and of the inner function, in their original order.
pub(crate) struct Placed<T> {
    pub(crate) outer: Vec<T>,
    pub(crate) inner: Vec<T>,
}

impl<T> Placed<T> {
    fn outer(thing: T) -> Self {
        Self { outer: vec![thing], inner: Vec::new() }
    }

    fn inner(thing: T) -> Self {
        Self { outer: Vec::new(), inner: vec![thing] }
    }

    fn nowhere() -> Self {
        Self { outer: Vec::new(), inner: Vec::new() }
    }

    fn append(&mut self, other: Self) {
        self.outer.extend(other.outer);
        self.inner.extend(other.inner);
    }
}

pub(crate) fn place(attrs: &[Attribute], errors: &mut Errors) -> Placed<Attribute> {
    let mut placed = Placed::nowhere();
    for attr in attrs {
        let with = |meta| Attribute { meta, ..attr.clone() };
        let metas = place_meta(attr.meta.clone(), errors);
        placed.append(Placed {
            outer: metas.outer.into_iter().map(with).collect(),
            inner: metas.inner.into_iter().map(with).collect(),
        });
    }
    placed
}

fn place_meta(meta: Meta, errors: &mut Errors) -> Placed<Meta> {
    if is_own(&meta) {
        errors.on(
            meta.path(),
            "duplicate `#[require_app_key]`: merge the arguments into one attribute",
        );
        return Placed::nowhere();
    }
    if is_openapi(&meta) {
        errors.on(
            meta.path(),
            "`utoipa::path` needs the original signature of the handler: \
             move it above `#[require_app_key]`",
        );
        // A bare `path` must be removed. It would cause a second error, because `path` is also the
        // name of a built-in attribute.
        let is_bare = meta.path().get_ident().is_some();
        return if is_bare { Placed::nowhere() } else { Placed::outer(meta) };
    }
    if may_register(&meta) {
        errors.on(
            meta.path(),
            "this attribute contains a route path, so it may register the handler without the check: \
             move it above `#[require_app_key]`",
        );
        return Placed::outer(meta);
    }
    match &meta {
        Meta::List(list) if meta.path().is_ident("cfg_attr") => place_conditional(list, errors),
        _ if is_route(&meta) || is_builtin(&meta) => Placed::outer(meta),
        _ => Placed::inner(meta),
    }
}

// Input:  cfg_attr(PREDICATE, get("/"), tracing::instrument)
// Output: outer cfg_attr(PREDICATE, get("/")), inner cfg_attr(PREDICATE, tracing::instrument)
//
// On the outer function, `tracing::instrument` would record the whole request, which may contain a
// key.
fn place_conditional(list: &MetaList, errors: &mut Errors) -> Placed<Meta> {
    let Ok((predicate, metas)) = list.parse_args_with(conditional) else {
        // A malformed `cfg_attr` is kept as it is, so that the compiler reports its error.
        return Placed::outer(list.clone().into());
    };
    let mut placed = Placed::nowhere();
    for meta in metas {
        placed.append(place_meta(meta, errors));
    }
    Placed {
        outer: under(&predicate, placed.outer, list),
        inner: under(&predicate, placed.inner, list),
    }
}

/// Returns one `cfg_attr` with these attributes, or an empty list if there are no attributes.
fn under(predicate: &TokenStream, metas: Vec<Meta>, list: &MetaList) -> Vec<Meta> {
    if metas.is_empty() {
        return metas;
    }
    let tokens = quote!(#predicate, #(#metas),*);
    vec![Meta::List(MetaList { tokens, ..list.clone() })]
}

fn conditional(input: ParseStream<'_>) -> Result<(TokenStream, Punctuated<Meta, Token![,]>)> {
    let mut predicate = TokenStream::new();
    while !input.peek(Token![,]) {
        predicate.extend([input.parse::<TokenTree>()?]);
    }
    input.parse::<Token![,]>()?;
    Ok((predicate, Punctuated::parse_terminated(input)?))
}

fn is_own(meta: &Meta) -> bool {
    last_segment(meta) == "require_app_key"
}

/// Returns whether this attribute is `utoipa::path`, or `path(..)` after `use utoipa::path`. The
/// built-in attribute `path = ".."` has no parentheses.
fn is_openapi(meta: &Meta) -> bool {
    last_segment(meta) == "path"
        && (meta.path().segments.len() > 1 || matches!(meta, Meta::List(_)))
}

/// Returns whether this attribute is a route macro of actix-web. Checks the name and the form:
/// `get("/path", ..)`, or `routes` without arguments. The form distinguishes actix-web's `trace`
/// from the `trace` of a tracing crate, which must stay on the inner function.
fn is_route(meta: &Meta) -> bool {
    let name = last_segment(meta);
    let fits = match meta {
        Meta::Path(_) => name == "routes",
        Meta::List(list) => first_string(&list.tokens).is_some(),
        Meta::NameValue(_) => false,
    };
    fits && ROUTES.contains(&name.as_str())
}

/// Returns whether an unknown attribute has a route path among its arguments. Such an attribute may
/// be a renamed route macro (`use actix_web::get as fetch`), or another macro that registers its
/// function, such as `autoroute(path = "/list")`. On the inner function, such a macro would
/// register a handler without the check.
fn may_register(meta: &Meta) -> bool {
    let Meta::List(list) = meta else {
        return false;
    };
    let is_pattern = |text: String| text.is_empty() || text.starts_with('{');
    !is_route(meta)
        && !is_builtin(meta)
        && !meta.path().is_ident("cfg_attr")
        && (first_string(&list.tokens).is_some_and(is_pattern) || has_path(&list.tokens))
}

/// Returns whether these tokens contain a string literal that begins with `/`.
fn has_path(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => has_path(&group.stream()),
        TokenTree::Literal(literal) => string(&literal).is_some_and(|text| text.starts_with('/')),
        _ => false,
    })
}

/// Returns the value of the first token if that token is a string literal. A literal from
/// `macro_rules!` is in an invisible group.
fn first_string(tokens: &TokenStream) -> Option<String> {
    match tokens.clone().into_iter().next()? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
            first_string(&group.stream())
        }
        TokenTree::Literal(literal) => string(&literal),
        _ => None,
    }
}

fn string(literal: &Literal) -> Option<String> {
    let literal: LitStr = syn::parse2(literal.to_token_stream()).ok()?;
    Some(literal.value())
}

fn is_builtin(meta: &Meta) -> bool {
    BUILTINS.iter().any(|builtin| meta.path().is_ident(builtin))
}

fn last_segment(meta: &Meta) -> String {
    meta.path().segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}
