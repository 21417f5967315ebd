//! Tests of the expansion as tokens. The package `tests` compiles and runs expanded handlers.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;
use syn::LitStr;

use crate::expand::expand;

mod arguments;
mod attributes;
mod errors;
mod expansion;
mod half_typed;
mod macro_rules;

fn tokens(source: &str) -> TokenStream {
    TokenStream::from_str(source).unwrap()
}

/// Returns the messages of all `compile_error!`s, in order.
fn messages(output: TokenStream) -> Vec<String> {
    let mut messages = Vec::new();
    let mut after_name = false;
    for token in output {
        match token {
            TokenTree::Ident(ident) => after_name = ident == "compile_error",
            TokenTree::Group(group) if after_name => {
                let message: LitStr = syn::parse2(group.stream()).unwrap();
                messages.push(message.value());
                after_name = false;
            }
            TokenTree::Group(group) => messages.extend(self::messages(group.stream())),
            _ => {}
        }
    }
    messages
}

/// Asserts that an item expands to exactly these tokens, including any errors.
#[track_caller]
fn assert_expands(args: &str, item: TokenStream, expected: &TokenStream) {
    let output = expand(tokens(args), item);
    assert_eq!(output.to_string(), expected.to_string());
}

/// Asserts that an expansion contains these tokens at some place.
#[track_caller]
fn assert_contains(output: &TokenStream, expected: &TokenStream) {
    // The spaces between tokens depend on the origin of the tokens.
    let [text, part] = [output, expected].map(|tokens| tokens.to_string().replace(' ', ""));
    assert!(text.contains(&part), "{output}");
}

/// Returns the expected expansion of a handler without arguments. The parameters fill the parts
/// that differ between tests.
fn guarded(outer: &TokenStream, inner: &TokenStream, policy: &TokenStream) -> TokenStream {
    let policy = if policy.is_empty() {
        quote!(&::api_key_runtime::__private::ANY_KEY)
    } else {
        quote! {
            {
                static POLICY: ::api_key_runtime::__private::Policy =
                    ::api_key_runtime::__private::Policy::new() #policy;
                &POLICY
            }
        }
    };
    let arguments = inner.is_empty().then(|| quote!(::<_, (), _>));
    quote! {
        #outer
        fn list(
            __list_request: ::api_key_runtime::__private::UncheckedRequest,
        ) -> ::api_key_runtime::__private::BoxFuture {
            fn list(_: ::api_key_runtime::__private::AnAttributeBelowRemovedTheHandler) {}
            {
                #inner
                async fn list() -> &'static str { "all" }
                ::api_key_runtime::__private::authenticated #arguments (
                    #policy,
                    __list_request,
                    list,
                )
            }
        }
    }
}

/// Returns these tokens in an invisible group. The compiler puts such a group around a fragment of
/// a `macro_rules!`.
fn fragment(tokens: TokenStream) -> TokenTree {
    Group::new(Delimiter::None, tokens).into()
}
