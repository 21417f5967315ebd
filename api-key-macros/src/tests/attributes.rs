use proc_macro2::TokenStream;
use quote::quote;

use super::{assert_contains, assert_expands, fragment, guarded, messages, tokens};
use crate::{
    attributes::{BUILTINS, ROUTES},
    expand::expand,
};

/// Expands a handler with `attrs`. Asserts which attributes stay on the inner function and which
/// attributes move to the outer function.
#[track_caller]
fn assert_placed(attrs: &TokenStream, outer: &TokenStream, inner: &TokenStream) {
    let item = quote!(#attrs async fn list() -> &'static str { "all" });
    assert_expands("", item, &guarded(outer, inner, &quote!()));
}

#[test]
fn route_macros_go_to_the_outer_function() {
    let expected = [
        "get", "post", "put", "delete", "head", "connect", "options", "trace", "patch", "query",
        "route", "routes",
    ];
    assert_eq!(ROUTES, expected);
    for route in ROUTES {
        for path in ["", "actix_web::", "::actix_web::", "web::"] {
            let shape = if route == "routes" { "" } else { r#"("/list", name = "list")"# };
            let attr = tokens(&format!("#[{path}{route}{shape}]"));
            assert_placed(&attr, &attr, &quote!());
        }
    }
}

#[test]
fn attributes_of_other_crates_stay_on_the_inner_function() {
    for attr in [
        "#[fastrace::trace]",
        "#[trace(name = \"x\")]",
        "#[other::query]",
        "#[get]",
        "#[route = \"x\"]",
    ] {
        let attr = tokens(attr);
        assert_placed(&attr, &quote!(), &attr);
    }
}

#[test]
fn builtins_go_to_the_outer_function() {
    let expected = [
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
    assert_eq!(BUILTINS, expected);
    for builtin in BUILTINS {
        for arguments in ["", "(unix)", r#" = "text""#] {
            let attr = tokens(&format!("#[{builtin}{arguments}]"));
            assert_placed(&attr, &attr, &quote!());
        }
        // A macro of another crate may have the name of a built-in attribute.
        let attr = tokens(&format!("#[somebody::{builtin}]"));
        assert_placed(&attr, &quote!(), &attr);
    }
    assert_placed(&tokens("/// Lists.\n"), &quote!(#[doc = " Lists."]), &quote!());
}

#[test]
fn all_other_attributes_stay() {
    for attr in [
        quote!(#[tracing::instrument]),
        quote!(#[instrument(skip_all, fields(get = 1))]),
        quote!(#[protect("ADMIN")]),
        quote!(#[get::other]),
        quote!(#[track_caller]),
        quote!(#[rustfmt::skip]),
        quote!(#[clippy::cognitive_complexity = "50"]),
        quote!(#[path = "list.rs"]),
        quote!(#[unsafe(no_mangle)]),
    ] {
        assert_placed(&attr, &quote!(), &attr);
    }
}

#[test]
fn the_order_is_kept() {
    assert_placed(
        &quote!(#[first] #[doc = "one"] #[second] #[routes] #[get("/a")] #[third] #[get("/b")] #[cold]),
        &quote!(#[doc = "one"] #[routes] #[get("/a")] #[get("/b")] #[cold]),
        &quote!(#[first] #[second] #[third]),
    );
}

#[test]
fn the_content_of_cfg_attr_decides() {
    assert_placed(
        &quote!(#[cfg_attr(unix, get("/"), doc = "text")]),
        &quote!(#[cfg_attr(unix, get("/"), doc = "text")]),
        &quote!(),
    );
    assert_placed(
        &quote!(#[cfg_attr(all(unix, feature = "trace"), tracing::instrument,)]),
        &quote!(),
        &quote!(#[cfg_attr(all(unix, feature = "trace"), tracing::instrument)]),
    );
    assert_placed(
        &quote!(#[cfg_attr(true, get("/"), instrument, allow(dead_code), unsafe(no_mangle))]),
        &quote!(#[cfg_attr(true, get("/"), allow(dead_code))]),
        &quote!(#[cfg_attr(true, instrument, unsafe(no_mangle))]),
    );
    assert_placed(
        &quote!(#[cfg_attr(unix, cfg_attr(windows, get("/"), instrument))]),
        &quote!(#[cfg_attr(unix, cfg_attr(windows, get("/")))]),
        &quote!(#[cfg_attr(unix, cfg_attr(windows, instrument))]),
    );
    assert_placed(&quote!(#[cfg_attr(unix,)]), &quote!(), &quote!());
}

#[test]
fn a_broken_cfg_attr_is_left_to_the_compiler() {
    for attr in [
        quote!(#[cfg_attr]),
        quote!(#[cfg_attr = "unix"]),
        quote!(#[cfg_attr()]),
        quote!(#[cfg_attr(unix)]),
        quote!(#[cfg_attr(unix, 3)]),
    ] {
        let output = expand(quote!(), quote!(#attr async fn list() -> &'static str { "all" }));
        assert_contains(&output, &attr);
        assert_eq!(messages(output), [""; 0]);
    }
}

#[test]
fn the_attribute_is_allowed_once() {
    let message = "duplicate `#[require_app_key]`: merge the arguments into one attribute";
    for own in [
        quote!(#[require_app_key]),
        quote!(#[require_app_key(scopes = "a")]),
        quote!(#[api_key_runtime::require_app_key(optional)]),
        quote!(#[cfg_attr(unix, require_app_key)]),
    ] {
        let handler = guarded(&quote!(#[get("/")]), &quote!(#[instrument]), &quote!());
        assert_expands(
            "",
            quote!(#[get("/")] #own #[instrument] async fn list() -> &'static str { "all" }),
            &quote!(#handler ::core::compile_error! { #message }),
        );
    }
}

#[test]
fn utoipa_stands_above() {
    let message = "`utoipa::path` needs the original signature of the handler: move it above `#[require_app_key]`";
    for openapi in [
        quote!(#[utoipa::path(get, path = "/", responses((status = 200)))]),
        quote!(#[utoipa::path]),
        quote!(#[cfg_attr(feature = "openapi", utoipa::path(get))]),
    ] {
        // The attribute still moves to the outer function, so that the items that it generates are
        // in scope and no further errors occur.
        let handler = guarded(&quote!(#openapi #[get("/")]), &quote!(), &quote!());
        let item = quote!(#openapi #[get("/")] async fn list() -> &'static str { "all" });
        assert_eq!(messages(expand(quote!(), item.clone())), [message]);
        assert_expands("", item, &quote!(#handler ::core::compile_error! { #message }));
    }
}

/// A bare `path` is ambiguous to the compiler. If the attribute stayed, the compiler would report a
/// second error.
#[test]
fn a_bare_path_is_reported_once() {
    let message = "`utoipa::path` needs the original signature of the handler: move it above `#[require_app_key]`";
    let handler = guarded(&quote!(#[get("/")]), &quote!(), &quote!());
    assert_expands(
        "",
        quote!(
            #[path(get)]
            #[get("/")]
            async fn list() -> &'static str {
                "all"
            }
        ),
        &quote!(#handler ::core::compile_error! { #message }),
    );
}

/// B13: Below `#[require_app_key]`, a macro that registers its function would register the inner
/// function, which has no check.
#[test]
fn an_attribute_with_a_path_stands_above() {
    let message = "this attribute contains a route path, so it may register the handler without the check: \
                   move it above `#[require_app_key]`";
    let literal = fragment(quote!("/list"));
    for route in [
        quote!(#[fetch("/list")]),
        quote!(#[fetch("/list", name = "list")]),
        quote!(#[fetch(r"/list")]),
        quote!(#[fetch("")]),
        quote!(#[fetch("{rest:.*}")]),
        quote!(#[fetch(#literal)]),
        quote!(#[routes::fetch("/list")]),
        quote!(#[cfg_attr(unix, fetch("/list"))]),
        quote!(#[autoroute(path = "/list")]),
        quote!(#[autoroute(method = GET, path = r#"/list"#)]),
        quote!(#[autoroute(get(path = #literal))]),
        quote!(#[autoroute(GET, paths = ["list", "/list"])]),
        quote!(#[autoroute(path = concat!("/", "list"))]),
        quote!(#[cfg_attr(unix, autoroute(path = "/list"))]),
        quote!(#[get(path = "/list")]),
        quote!(#[protect("ADMIN", "/list")]),
    ] {
        // The attribute still moves to the outer function, so that the items that it generates are
        // in scope and no further errors occur.
        let handler = guarded(&route, &quote!(), &quote!());
        assert_expands(
            "",
            quote!(#route async fn list() -> &'static str { "all" }),
            &quote!(#handler ::core::compile_error! { #message }),
        );
    }
    for other in [
        quote!(#[protect("ADMIN", scope = "list/")]),
        quote!(#[protect(path = list)]),
        quote!(#[instrument("GET /list")]),
        quote!(#[cached]),
        quote!(#[cached(b"/list", '/')]),
        quote!(#[cached = "/list"]),
    ] {
        assert_placed(&other, &quote!(), &other);
    }
    for builtin in [quote!(#[doc(alias = "/list")]), quote!(#[cfg(feature = "/list")])] {
        assert_placed(&builtin, &builtin, &quote!());
    }
}
