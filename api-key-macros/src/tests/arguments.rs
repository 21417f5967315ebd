use proc_macro2::TokenStream;
use quote::quote;

use super::{assert_contains, assert_expands, fragment, guarded, messages, tokens};
use crate::expand::expand;

fn item() -> TokenStream {
    quote!(
        async fn list() -> &'static str {
            "all"
        }
    )
}

#[track_caller]
fn assert_policy(args: &str, policy: &TokenStream) {
    assert_expands(args, item(), &guarded(&quote!(), &quote!(), policy));
}

#[track_caller]
fn assert_faults(args: &str, expected: &[&str]) {
    assert_eq!(messages(expand(tokens(args), item())), expected, "{args}");
}

#[test]
fn become_the_policy() {
    assert_policy("", &quote!());
    assert_policy("optional", &quote!(.optional()));
    assert_policy("optional,", &quote!(.optional()));
    assert_policy(r#"scopes = "a""#, &quote!(.scopes("a")));
    assert_policy(r#"scopes = "a b:c d""#, &quote!(.scopes("a b:c d")));
    assert_policy(r#"any_scope = "a b""#, &quote!(.any_scope("a b")));
    assert_policy(
        r#"optional, any_scope = "c", scopes = "a b","#,
        &quote!(.scopes("a b").any_scope("c").optional()),
    );
}

#[test]
fn scopes_are_rfc_6749_tokens_without_comma_and_asterisk() {
    // All allowed characters in one scope: %x21 / %x23-5B / %x5D-7E of RFC 6749, without `,` and
    // `*`.
    let all: String = ('\x21'..='\x7E').filter(|c| !['"', '\\', ',', '*'].contains(c)).collect();
    assert_policy(&format!("scopes = r#\"{all}\"#"), &quote!(.scopes(#all)));

    for refused in ['"', '\\', '\t', '\n', '\0', '\x7F', 'é', '\u{A0}', '\u{200B}'] {
        let scopes = format!("orders:read a{refused}");
        let message = format!(
            "{refused:?} is not allowed in a scope: use printable ASCII without spaces, double quotes and backslashes"
        );
        assert_faults(&format!("scopes = {scopes:?}"), &[&message]);
        assert_faults(&format!("any_scope = {scopes:?}"), &[&message]);
    }
    for name in ["scopes", "any_scope"] {
        for (scopes, message) in [
            ("a,b", "',' is not allowed in a scope: separate scopes by spaces"),
            ("a, b", "',' is not allowed in a scope: separate scopes by spaces"),
            (
                "a b:*",
                "'*' is not allowed in a scope: wildcards are not supported, so write each scope in full",
            ),
        ] {
            assert_faults(&format!("{name} = {scopes:?}"), &[message]);
        }
    }
}

#[test]
fn scopes_are_separated_by_one_space() {
    for name in ["scopes", "any_scope"] {
        for scopes in [" ", " a", "a ", "a  b"] {
            assert_faults(
                &format!("{name} = {scopes:?}"),
                &["scopes are separated by exactly one space: remove the other spaces"],
            );
        }
        let empty = format!("`{name}` is empty: write at least one scope, or remove `{name}`");
        assert_faults(&format!(r#"{name} = """#), &[&empty]);
        assert_faults(&format!(r#"{name} = "a b a""#), &["duplicate scope `a`: write it once"]);
    }
}

#[test]
fn scope_lists_are_string_literals() {
    for name in ["scopes", "any_scope"] {
        let message = format!(
            r#"`{name}` takes a string literal: write `{name} = "orders:read orders:write"`"#
        );
        for value in [
            "",
            " =",
            r#"("a")"#,
            r#" "a""#,
            " = SCOPES",
            r#" = ["a"]"#,
            r#" = b"a""#,
            " = 1",
            r#" = concat!("a", "b")"#,
        ] {
            assert_faults(&format!("{name}{value}"), &[&message]);
            assert_faults(&format!("{name}{value}, optional"), &[&message]);
        }
    }
}

#[test]
fn optional_is_a_flag() {
    for value in [" = true", "(true)", r#" = "yes""#, " true"] {
        let args = format!("optional{value}");
        assert_faults(&args, &["`optional` takes no value: write `optional` alone"]);
    }
}

#[test]
fn crate_is_a_path() {
    for (args, path) in [
        ("crate = keys", quote!(keys)),
        ("crate = ::keys", quote!(::keys)),
        ("crate = crate::facade::keys", quote!(crate::facade::keys)),
        (r#"crate = "super::keys""#, quote!(super::keys)),
        (r#"crate = "::keys""#, quote!(::keys)),
    ] {
        let expected = quote! {
            fn list(__list_request: #path::__private::UncheckedRequest,)
                -> #path::__private::BoxFuture
            {
                fn list(_: #path::__private::AnAttributeBelowRemovedTheHandler) {}
                {
                    async fn list() -> &'static str { "all" }
                    #path::__private::authenticated::<_, (), _>(
                        &#path::__private::ANY_KEY,
                        __list_request,
                        list,
                    )
                }
            }
        };
        assert_expands(args, item(), &expected);
    }
    for value in
        ["", " =", " keys", "(keys)", " = 3", " = keys::", r#" = "not a path""#, r#" = """#]
    {
        let args = format!("crate{value}");
        assert_faults(&args, &["`crate` takes a path: write `crate = path::to::api_key_runtime`"]);
    }
}

#[test]
fn are_given_once() {
    for (name, argument) in [
        ("scopes", r#"scopes = "a""#),
        ("any_scope", r#"any_scope = "a""#),
        ("optional", "optional"),
        ("crate", "crate = keys"),
    ] {
        let message = format!("duplicate argument `{name}`: write it once");
        assert_faults(&format!("{argument}, {argument}"), &[&message]);
        assert_faults(&format!("{argument}, {argument}, {argument}"), &[&message, &message]);
    }
    // A duplicate argument is reported even if the first argument is invalid.
    assert_faults(
        r#"scopes = "", scopes = "a""#,
        &[
            "`scopes` is empty: write at least one scope, or remove `scopes`",
            "duplicate argument `scopes`: write it once",
        ],
    );
}

#[test]
fn have_names() {
    assert_faults(r#""a b""#, &[r#"expected a named argument: write `scopes = "a b"`"#]);
    assert_faults(
        r#""/orders", optional"#,
        &[r#"expected a named argument: write `scopes = "/orders"`"#],
    );
    let message = r#"expected an argument: write `scopes = "..."`, `any_scope = "..."`, `optional` or `crate = path`"#;
    for args in [",", ",,", "optional,,", "(scopes)", "= 3", "3", "'a'"] {
        let found = messages(expand(tokens(args), item()));
        assert!(
            !found.is_empty() && found.iter().all(|found| found == message),
            "{args}: {found:?}"
        );
    }
}

#[test]
fn are_of_a_known_name() {
    for name in ["scope", "Scopes", "r#optional", "self", "true", "role", "_"] {
        let message = format!(
            r#"unknown argument `{name}`: write `scopes = "..."`, `any_scope = "..."`, `optional` or `crate = path`"#
        );
        for value in ["", r#" = "a""#, "(a, b)"] {
            let argument = format!("{name}{value}");
            assert_faults(&argument, &[&message]);
            assert_faults(&format!("{argument}, {argument}"), &[&message, &message]);
        }
    }
}

#[test]
fn stand_between_commas() {
    let message = "expected a comma between two arguments";
    assert_faults(r#"scopes = "a" optional"#, &[message]);
    assert_faults(r#"scopes = "a" "b""#, &[message]);
    assert_faults("crate = keys<T>, optional", &[message]);
    assert_faults("crate = keys; optional", &[message]);
}

#[test]
fn all_faults_are_reported() {
    assert_faults(
        r#""x", scopes = "a a", colour = "blue", optional = true, any_scope = 3, crate = "#,
        &[
            r#"expected a named argument: write `scopes = "x"`"#,
            "duplicate scope `a`: write it once",
            r#"unknown argument `colour`: write `scopes = "..."`, `any_scope = "..."`, `optional` or `crate = path`"#,
            "`optional` takes no value: write `optional` alone",
            r#"`any_scope` takes a string literal: write `any_scope = "orders:read orders:write"`"#,
            "`crate` takes a path: write `crate = path::to::api_key_runtime`",
        ],
    );
}

#[test]
fn faulty_arguments_are_left_out_of_the_policy() {
    let message = "`optional` takes no value: write `optional` alone";
    let handler = guarded(&quote!(), &quote!(), &quote!(.scopes("a")));
    assert_expands(
        r#"optional = true, scopes = "a""#,
        item(),
        &quote!(#handler ::core::compile_error! { #message }),
    );
}

#[test]
fn may_be_fragments() {
    let scopes = fragment(quote!("a b"));
    let path = fragment(quote!(::keys));
    let output = expand(quote!(scopes = #scopes, crate = #path), item());
    assert_contains(&output, &quote!(::keys::__private::Policy::new().scopes("a b")));
}
