//! Rejects functions that cannot be actix-web handlers.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, FnArg, ReturnType, Safety, Signature};

use crate::{
    errors::Errors,
    handler::{Body, Handler},
};

/// The maximum number of arguments that actix-web's `Handler` supports.
const MOST_ARGUMENTS: usize = 16;

pub(crate) fn validate(handler: &Handler) -> Errors {
    let mut errors = Errors::default();
    qualifiers(&handler.sig, &mut errors);
    arguments(&handler.sig, &mut errors);
    if matches!(handler.sig.output, ReturnType::Default) {
        errors.on(
            &handler.sig.ident,
            "a handler needs a return type: add one, such as `-> impl Responder`",
        );
    }
    if let Body::Missing(semicolon) = &handler.body {
        errors.on(
            semicolon,
            "a handler needs a body: write `#[require_app_key]` above the function with the body",
        );
    }
    errors
}

fn qualifiers(sig: &Signature, errors: &mut Errors) {
    if let Some(constness) = &sig.constness {
        errors.on(constness, "a handler cannot be `const`: remove `const`");
    }
    if let Safety::Unsafe(safety) = &sig.safety {
        errors.on(
            safety,
            "a handler cannot be `unsafe`: remove `unsafe` and use an `unsafe` block in the body",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, "a handler must have the Rust ABI: remove `extern`");
    }
}

fn arguments(sig: &Signature, errors: &mut Errors) {
    for input in &sig.inputs {
        match input {
            FnArg::Receiver(receiver) => errors.on(
                receiver.self_token,
                "a handler cannot have `self`: \
                 take shared state as an argument, such as `web::Data<T>`",
            ),
            FnArg::Typed(argument) => {
                if let Some(keyword) = find_impl(argument.ty.to_token_stream()) {
                    errors.on(
                        keyword,
                        "a handler argument cannot be `impl Trait`: \
                         use a concrete type or a type parameter",
                    );
                }
            }
        }
    }
    // An argument that `#[cfg]` may remove does not count. If such an argument stays and exceeds
    // the limit, the compiler reports the error.
    let mut certain = sig.inputs.iter().filter(|input| !has_cfg(input));
    if let Some(first_too_many) = certain.nth(MOST_ARGUMENTS) {
        errors.on(
            first_too_many,
            format!(
                "a handler has at most {MOST_ARGUMENTS} arguments: \
                 combine several into a tuple, such as `(a, b): (A, B)`"
            ),
        );
    }
    if let Some(variadic) = &sig.variadic {
        errors.on(variadic.dots, "a handler must have a fixed number of arguments: remove `...`");
    }
}

/// Returns the first `impl` keyword in a type. In a type, `impl` always means `impl Trait`.
fn find_impl(tokens: TokenStream) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "impl" => Some(ident),
        TokenTree::Group(group) => find_impl(group.stream()),
        _ => None,
    })
}

fn has_cfg(input: &FnArg) -> bool {
    let attrs: &[Attribute] = match input {
        FnArg::Receiver(receiver) => &receiver.attrs,
        FnArg::Typed(argument) => &argument.attrs,
    };
    attrs.iter().any(|attr| attr.path().is_ident("cfg"))
}
