use proc_macro2::TokenStream;
use quote::quote;

use super::{assert_contains, assert_expands, messages, tokens};
use crate::expand::expand;

// The distinctive part of each message. The files in `tests/ui` contain the whole messages.
const NO_FUNCTION: &str = "applies only to handler functions";
const CONST: &str = "cannot be `const`";
const UNSAFE: &str = "cannot be `unsafe`";
const EXTERN: &str = "remove `extern`";
const RECEIVER: &str = "cannot have `self`";
const IMPL: &str = "cannot be `impl Trait`";
const TOO_MANY: &str = "at most 16 arguments";
const VARIADIC: &str = "remove `...`";
const NO_RETURN: &str = "needs a return type";
const NO_BODY: &str = "needs a body";

#[track_caller]
fn assert_faults(item: &str, expected: &[&str]) {
    assert_messages(expand(TokenStream::new(), tokens(item)), expected);
}

/// Asserts that there are as many messages as parts, and that each message contains its part.
#[track_caller]
fn assert_messages(output: TokenStream, expected: &[&str]) {
    let messages = messages(output);
    let mut pairs = messages.iter().zip(expected);
    assert!(
        messages.len() == expected.len() && pairs.all(|(message, part)| message.contains(part)),
        "{messages:?} instead of {expected:?}"
    );
}

#[test]
fn only_functions() {
    for item in [
        "struct S;",
        "pub struct S { get: u8 }",
        "pub(crate) enum E {}",
        "union U { a: u8 }",
        "impl S { fn list() -> u8 { 1 } }",
        "unsafe impl Send for S {}",
        "trait T { fn list() -> u8; }",
        "unsafe trait T {}",
        "mod m { fn list() -> u8 { 1 } }",
        "const LIST: u8 = 1;",
        "const _: fn() = || ();",
        "static LIST: u8 = 1;",
        "type List = fn() -> u8;",
        "use a::list;",
        "extern crate list;",
        r#"extern "C" { fn list() -> u8; }"#,
        "macro_rules! list { () => {} }",
        "list!();",
    ] {
        assert_faults(item, &[NO_FUNCTION]);
        let item = tokens(item);
        let output = expand(TokenStream::new(), item.clone()).to_string();
        assert!(output.starts_with(&item.to_string()), "{output}");
    }
}

#[test]
fn each_fault_has_its_message() {
    for (item, message) in [
        ("const fn f() -> u8 { 1 }", CONST),
        ("unsafe fn f() -> u8 { 1 }", UNSAFE),
        ("async unsafe fn f() -> u8 { 1 }", UNSAFE),
        ("extern fn f() -> u8 { 1 }", EXTERN),
        (r#"extern "C" fn f() -> u8 { 1 }"#, EXTERN),
        (r#"extern "Rust" fn f() -> u8 { 1 }"#, EXTERN),
        ("fn f(self) -> u8 { 1 }", RECEIVER),
        ("fn f(&self) -> u8 { 1 }", RECEIVER),
        ("fn f(&mut self, a: A) -> u8 { 1 }", RECEIVER),
        ("fn f(self: Box<Self>) -> u8 { 1 }", RECEIVER),
        ("fn f(a: impl Into<String>) -> u8 { 1 }", IMPL),
        ("fn f(a: &impl Into<String>) -> u8 { 1 }", IMPL),
        ("fn f(a: Json<Vec<impl Into<String>>>) -> u8 { 1 }", IMPL),
        ("fn f(a: (A, [impl Sized; 2])) -> u8 { 1 }", IMPL),
        ("fn f(a: A, ...) -> u8 { 1 }", VARIADIC),
        ("fn f(a: A, rest: ...) -> u8 { 1 }", VARIADIC),
        ("fn f() {}", NO_RETURN),
        ("async fn f<T>(a: A) where T: Clone {}", NO_RETURN),
        ("fn f() -> u8;", NO_BODY),
    ] {
        assert_faults(item, &[message]);
    }
}

#[test]
fn at_most_sixteen_arguments() {
    let list = |count: usize| "_: Bytes, ".repeat(count);
    assert_faults(&format!("fn f({}) -> u8 {{ 1 }}", list(16)), &[]);
    assert_faults(&format!("fn f({}) -> u8 {{ 1 }}", list(17)), &[TOO_MANY]);
    assert_faults(&format!("fn f({}) -> u8 {{ 1 }}", list(40)), &[TOO_MANY]);
    assert_faults(
        &format!(
            "fn f({} #[cfg(unix)] _: Bytes, #[cfg(windows)] _: Bytes) -> u8 {{ 1 }}",
            list(15)
        ),
        &[],
    );
}

#[test]
fn valid_functions_have_no_faults() {
    for item in [
        "fn f() -> impl Future<Output = impl Responder> { ready(1) }",
        "async fn f() -> Result<impl Responder, impl ResponseError> { Ok(1) }",
        "async fn f((mut a, _): (A, B), [b, ..]: C, D { d, .. }: D) -> u8 { 1 }",
        "async fn f(implement: Impl) -> u8 { 1 }",
        "pub(in super::orders) async fn f<'a, T: 'a, const N: usize>(a: A<'a, T, N>) -> u8 where T: Clone { 1 }",
        "async fn r#match() -> u8 { 1 }",
        "async fn f() -> u8 { #![allow(unused)] fn g(a: impl Sized) {} 1 }",
    ] {
        assert_faults(item, &[]);
    }
}

#[test]
fn all_at_once() {
    assert_faults(
        r#"const unsafe extern "C" fn f(&self, a: impl A, b: impl B, ...);"#,
        &[CONST, UNSAFE, EXTERN, RECEIVER, IMPL, IMPL, VARIADIC, NO_RETURN, NO_BODY],
    );
    let output = expand(
        tokens("optional = 1"),
        tokens("#[utoipa::path] #[require_app_key] const fn f() {}"),
    );
    assert_messages(
        output,
        &[
            "`optional` takes no value",
            "`utoipa::path` needs the original signature",
            "duplicate `#[require_app_key]`",
            CONST,
            NO_RETURN,
        ],
    );
}

#[test]
fn faults_of_the_arguments_are_reported_beside_no_function() {
    let output = expand(tokens("optional = 1"), tokens("struct S;"));
    assert_messages(output, &["`optional` takes no value", NO_FUNCTION]);
}

/// The outer function remains, so that neither the route macro nor a use of the handler adds
/// errors.
#[test]
fn an_unfit_function_is_never_called() {
    let item = quote! { #[get("/")] #[instrument] pub async fn list<T: A>(a: T) { a.b() } };
    let message = messages(expand(TokenStream::new(), item.clone())).remove(0);
    assert_expands(
        "",
        item,
        &quote! {
            #[get("/")]
            pub fn list<T: A + 'static>(
                __list_request: ::api_key_runtime::__private::UncheckedRequest,
            ) -> ::api_key_runtime::__private::BoxFuture {
                fn list<T: A + 'static>(_: ::api_key_runtime::__private::AnAttributeBelowRemovedTheHandler) {}
                {
                    #[instrument]
                    async fn list<T: A>(a: T) { a.b() }
                    ::core::unreachable!()
                }
            }
            ::core::compile_error! { #message }
        },
    );
}

/// If the function stayed `const`, the compiler would report further errors in its body.
#[test]
fn a_const_function_is_reported_once() {
    let output = expand(
        quote!(),
        quote!(
            const fn list() -> Ready<u8> {
                ready(1)
            }
        ),
    );
    assert_messages(output.clone(), &[CONST]);
    assert!(!output.to_string().contains("const fn"), "{output}");
    assert_contains(&output, &quote!({ ready(1) }));
}

#[test]
fn functions_that_cannot_be_nested_are_unchanged() {
    for item in [
        quote!(
            #[get]
            #[a]
            pub async fn f(&self) -> u8 {
                1
            }
        ),
        quote!(
            #[a]
            async fn f() -> u8;
        ),
    ] {
        let output = expand(quote!(), item.clone());
        assert!(output.to_string().starts_with(&item.to_string()), "{output}");
    }
}

#[test]
fn a_half_typed_signature_is_unchanged() {
    for item in [
        "#[get] pub",
        "async fn",
        "async fn list",
        "async fn list()",
        "async fn list() -> ",
        "async fn list() -> u8",
        "async fn list() -> { 1 }",
        "async fn list(id) -> u8 { 1 }",
        "async fn list(id: ) -> u8 { 1 }",
        "async fn list<T: (id: T) -> u8 { 1 }",
    ] {
        let item = tokens(item);
        let output = expand(quote!(), item.clone());
        assert!(output.to_string().starts_with(&item.to_string()), "{output}");
        assert_eq!(messages(output.clone()).len(), 1, "{output}");
    }
}

#[test]
fn a_body_being_typed_is_not_looked_into() {
    for body in
        ["key.", "let a = ;", "match key { AppKey }", "if", "#", "struct fn impl", "web::Json(&)"]
    {
        let body = tokens(body);
        let output = expand(quote!(), quote!(async fn list() -> u8 { #body }));
        assert_contains(&output, &quote!({ #body }));
        assert_messages(output, &[""; 0]);
    }
}
