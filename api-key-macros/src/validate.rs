//! What no actix-web handler can be.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, FnArg, ReturnType, Safety, Signature};

use crate::{
    errors::Errors,
    handler::{Body, Handler},
};

/// How many arguments actix-web's `Handler` knows.
const MOST_ARGUMENTS: usize = 16;

pub(crate) fn validate(handler: &Handler) -> Errors {
    let mut errors = Errors::default();
    qualifiers(&handler.sig, &mut errors);
    arguments(&handler.sig, &mut errors);
    if matches!(handler.sig.output, ReturnType::Default) {
        errors.on(
            &handler.sig.ident,
            "a handler needs a return type: write what it answers, such as `-> impl Responder`",
        );
    }
    if let Body::Missing(semicolon) = &handler.body {
        errors.on(
            semicolon,
            "a handler needs a body: write `#[require_app_key]` above the function that has it",
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
            "a handler cannot be `unsafe`: remove it, and write an `unsafe` block inside",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.on(abi, "a handler has Rust's own ABI: remove `extern`");
    }
}

fn arguments(sig: &Signature, errors: &mut Errors) {
    for input in &sig.inputs {
        match input {
            FnArg::Receiver(receiver) => errors.on(
                receiver.self_token,
                "a handler has no `self`: \
                 take what it needs as an argument, such as `web::Data<T>`",
            ),
            FnArg::Typed(argument) => {
                if let Some(keyword) = find_impl(argument.ty.to_token_stream()) {
                    errors.on(
                        keyword,
                        "the arguments of a handler cannot be `impl Trait`: \
                         name the type, or a type parameter",
                    );
                }
            }
        }
    }
    // One that a `#[cfg]` may remove does not count; if it stays, the compiler refuses it.
    let mut certain = sig.inputs.iter().filter(|input| !has_cfg(input));
    if let Some(first_too_many) = certain.nth(MOST_ARGUMENTS) {
        errors.on(
            first_too_many,
            format!(
                "a handler has at most {MOST_ARGUMENTS} arguments: \
                 take several as one tuple, such as `(a, b): (A, B)`"
            ),
        );
    }
    if let Some(variadic) = &sig.variadic {
        errors.on(variadic.dots, "a handler has a fixed number of arguments: remove `...`");
    }
}

/// The first `impl` in a type, where the keyword can mean nothing but `impl Trait`.
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
