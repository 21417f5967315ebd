//! Where the handler's other attributes go: to the outer function, or to the inner one with the
//! rest of it.

use proc_macro2::{Delimiter, Literal, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, LitStr, Meta, MetaList, Result, Token, parse::ParseStream, punctuated::Punctuated,
};

use crate::errors::Errors;

/// Macros of actix-web that register the function below them, by the last segment of their path.
pub(crate) const ROUTES: [&str; 12] = [
    "get", "post", "put", "delete", "head", "connect", "options", "trace", "patch", "query",
    "route", "routes",
];

/// Attributes of the language that speak of the item as others see it. Lint levels among them also
/// reach the function nested in it.
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

/// What goes to the outer function and what stays on the inner one, in the order of writing.
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
            "`#[require_app_key]` is here twice: write one, with the arguments of both",
        );
        return Placed::nowhere();
    }
    if is_openapi(&meta) {
        errors.on(
            meta.path(),
            "`utoipa::path` must see the handler as it was written: \
             move it above `#[require_app_key]`",
        );
        // Left there, a bare `path` would be reported once more: the language has one of its own.
        let is_bare = meta.path().get_ident().is_some();
        return if is_bare { Placed::nowhere() } else { Placed::outer(meta) };
    }
    if may_register(&meta) {
        errors.on(
            meta.path(),
            "this attribute has the path of a route, so it may register the handler without the check: \
             write it above `#[require_app_key]`",
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
// On the outer function `tracing::instrument` would record the request, and with it the key.
fn place_conditional(list: &MetaList, errors: &mut Errors) -> Placed<Meta> {
    let Ok((predicate, metas)) = list.parse_args_with(conditional) else {
        // The compiler says what is wrong with it.
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

/// The `cfg_attr` again, with these in it; nothing for none.
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

/// `utoipa::path`, or `path(..)` after a `use`: the language's own `path` has no parentheses.
fn is_openapi(meta: &Meta) -> bool {
    last_segment(meta) == "path"
        && (meta.path().segments.len() > 1 || matches!(meta, Meta::List(_)))
}

/// A route macro of actix-web, by its shape too: `("/path", ..)`, or `routes` alone. A tracing
/// crate's `trace` must stay inside, where it sees the handler's arguments and not the request.
fn is_route(meta: &Meta) -> bool {
    let name = last_segment(meta);
    let fits = match meta {
        Meta::Path(_) => name == "routes",
        Meta::List(list) => first_string(&list.tokens).is_some(),
        Meta::NameValue(_) => false,
    };
    fits && ROUTES.contains(&name.as_str())
}

/// An unknown name with the path of a route among its arguments: a route macro after
/// `use actix_web::get as fetch`, or a macro that registers the function below it, such as
/// `autoroute(path = "/list")`. That would be the inner function, without the check.
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

/// Whether a string literal that begins with `/` is anywhere in these tokens.
fn has_path(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => has_path(&group.stream()),
        TokenTree::Literal(literal) => string(&literal).is_some_and(|text| text.starts_with('/')),
        _ => false,
    })
}

/// The value of a string literal at the beginning. One that came through `macro_rules!` is in an
/// invisible group.
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
