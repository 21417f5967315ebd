//! Half-typed code from an editor. The item must stay complete, so that completion and navigation
//! keep working.

use proc_macro2::{TokenStream, TokenTree};

use super::{messages, tokens};
use crate::expand::expand;

/// Returns the tokens of the innermost group that contains this word.
fn innermost(output: TokenStream, word: &str) -> Option<TokenStream> {
    let holds = |tokens: &TokenStream| {
        let mut tokens = tokens.clone().into_iter();
        tokens.any(|token| matches!(token, TokenTree::Ident(ident) if ident == word))
    };
    output.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => innermost(group.stream(), word)
            .or_else(|| Some(group.stream()).filter(|stream| holds(stream))),
        _ => None,
    })
}

#[test]
fn a_body_that_does_not_parse_is_kept_token_by_token() {
    // Editors close open brackets before they request an expansion.
    for body in [
        "half.",
        "let half = ;",
        "half(key,)",
        "if half == {}",
        "match half { Some() }",
        "half key name",
        "let x: = half.await?. ; x",
    ] {
        let item = format!("async fn order(key: AppKey) -> impl Responder {{ {body} }}");
        let output = expand(TokenStream::new(), tokens(&item));
        assert_eq!(messages(output.clone()), [] as [&str; 0], "{body}");
        let kept = innermost(output, "half").unwrap();
        assert_eq!(kept.to_string(), tokens(body).to_string());
    }
}

#[test]
fn half_typed_attribute_arguments_leave_the_handler_whole() {
    for args in ["sco", "scopes =", "scopes = ", "optional, any_"] {
        let output = expand(tokens(args), tokens("async fn order() -> u8 { answer }"));
        assert!(!messages(output.clone()).is_empty(), "{args}");
        let body = innermost(output, "answer").unwrap();
        assert_eq!(body.to_string(), "answer", "{args}");
    }
}
