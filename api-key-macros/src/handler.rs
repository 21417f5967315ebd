//! Parses the item below the attribute. Parses the signature of a function, but not its body.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, LitStr, Result, Signature, Token, Visibility, braced,
    parse::{Parse, ParseStream},
    token,
};

/// A function as the user wrote it.
pub(crate) struct Handler {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Body,
}

/// The part after the signature.
pub(crate) enum Body {
    /// The tokens of a body. They are not parsed, because an editor may pass half-typed code and
    /// the expansion does not depend on the body.
    Block(token::Brace, TokenStream),
    /// A semicolon instead of a body, as in a trait.
    Missing(Token![;]),
}

impl Handler {
    /// Returns whether the function can be nested in another function.
    pub(crate) fn can_be_nested(&self) -> bool {
        self.sig.receiver().is_none() && matches!(self.body, Body::Block(..))
    }
}

impl Parse for Handler {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if !is_function(input)? {
            let message = "`#[require_app_key]` applies only to handler functions: write it above each `fn` that needs a key";
            return Err(input.error(message));
        }
        Ok(Self { attrs, vis, sig: input.parse()?, body: input.parse()? })
    }
}

impl Parse for Body {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(Token![;]) {
            return Ok(Self::Missing(input.parse()?));
        }
        // The body is not parsed as a `Group`, because a `$body:block` of `macro_rules!` is in an
        // additional invisible group.
        let content;
        let brace = braced!(content in input);
        Ok(Self::Block(brace, content.parse()?))
    }
}

impl ToTokens for Body {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Block(brace, body) => {
                brace.surround(tokens, |tokens| tokens.extend(body.clone()));
            }
            Self::Missing(semicolon) => semicolon.to_tokens(tokens),
        }
    }
}

/// Returns whether the next tokens are qualifiers in any order, followed by `fn`.
fn is_function(input: ParseStream<'_>) -> Result<bool> {
    let ahead = input.fork();
    while ahead.peek(Token![const])
        || ahead.peek(Token![async])
        || ahead.peek(Token![unsafe])
        || ahead.peek(Token![extern])
    {
        ahead.parse::<TokenTree>()?;
        ahead.parse::<Option<LitStr>>()?;
    }
    Ok(ahead.peek(Token![fn]))
}
