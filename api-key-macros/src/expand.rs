//! Expands a handler into a function that authenticates each request before the handler runs.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, GenericParam, Generics, Ident, Lifetime, Signature, Token, Type,
    TypeParamBound, WherePredicate, punctuated::Punctuated,
};

use crate::{
    args::Args,
    attributes::{self, Placed},
    errors::Errors,
    handler::Handler,
    validate::validate,
};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    let output = match syn::parse2(item.clone()) {
        Ok(handler) => expand_handler(&handler, &args, &mut errors).unwrap_or(item),
        Err(fault) => {
            errors.push(fault);
            item
        }
    };
    quote!(#output #errors)
}

/// Expands a handler. Returns `None` if the function cannot be nested in another function. Adds all
/// errors of the handler to `errors`.
fn expand_handler(handler: &Handler, args: &Args, errors: &mut Errors) -> Option<TokenStream> {
    let attrs = attributes::place(&handler.attrs, errors);
    let unfit = validate(handler);
    let is_fit = unfit.is_empty();
    errors.append(unfit);
    if !handler.can_be_nested() {
        return None;
    }
    let expansion = Expansion::new(handler, args, attrs);
    let call = if is_fit { expansion.authenticated() } else { expansion.unreachable() };
    Some(expansion.outer(&call))
}

struct Expansion<'a> {
    handler: &'a Handler,
    args: &'a Args,
    attrs: Placed<Attribute>,
    /// The span of generated tokens. With this span, generated variables do not clash with the
    /// user's variables, and lints recognize the tokens as generated.
    site: Span,
    /// `::api_key_runtime::__private`
    private: TokenStream,
    /// The argument of the outer function. An argument cannot have the name of a unit struct in
    /// scope, and a route macro turns a handler into a unit struct. The name therefore extends the
    /// name of the handler, and so differs from it.
    request: Ident,
}

impl<'a> Expansion<'a> {
    fn new(handler: &'a Handler, args: &'a Args, attrs: Placed<Attribute>) -> Self {
        let site = Span::mixed_site().located_at(handler.sig.ident.span());
        let runtime = args
            .runtime
            .as_ref()
            .map_or_else(|| quote_spanned!(site=> ::api_key_runtime), ToTokens::to_token_stream);
        let private = quote_spanned!(site=> #runtime::__private);
        let name = &handler.sig.ident;
        Self {
            handler,
            args,
            attrs,
            site,
            private,
            request: format_ident!("__{}_request", name, span = site),
        }
    }

    // Input:
    //     #[get("/orders/{id}")]
    //     #[tracing::instrument]
    //     pub async fn order<T: Store>(id: Path<u64>, key: AppKey) -> impl Responder { BODY }
    //
    // Output:
    //     #[get("/orders/{id}")]
    //     pub fn order<T: Store + 'static>(__order_request: UncheckedRequest) -> BoxFuture {
    //         fn order<T: Store + 'static>(_: AnAttributeBelowRemovedTheHandler) {}
    //         {
    //             #[tracing::instrument]
    //             async fn order<T: Store>(id: Path<u64>, key: AppKey) -> impl Responder { BODY }
    //             CALL
    //         }
    //     }
    //
    // The user's function shadows the empty function. If another attribute removes the user's
    // function, the empty function causes a compile error at the call. Without the empty function,
    // the call would refer to the outer function, which would call itself until the process aborts.
    fn outer(&self, call: &TokenStream) -> TokenStream {
        let Self { private, site, request, .. } = self;
        let Handler { vis, sig, .. } = self.handler;
        let attrs = &self.attrs.outer;
        let fn_token = &sig.fn_token;
        let name = &sig.ident;
        let mut generics = outlive_requests(&sig.generics, *site);
        drop_unused_lifetimes(&mut generics);
        let where_clause = &generics.where_clause;
        // The return type and the braces have the user's span, like `fn`. Otherwise the compiler
        // would not report an unused or undocumented handler.
        let future = Ident::new("BoxFuture", name.span());
        let inner = self.inner();
        let body = quote_spanned! {*site=>
            fn #name #generics(_: #private::AnAttributeBelowRemovedTheHandler) #where_clause {}
            { #inner #call }
        };
        let mut body = Group::new(Delimiter::Brace, body);
        body.set_span(name.span());
        quote_spanned! {*site=>
            #(#attrs)*
            #vis #fn_token #name #generics(
                #request: #private::UncheckedRequest,
            ) -> #private::#future #where_clause #body
        }
    }

    /// Returns the user's function without the attributes of the outer function. `const` is
    /// removed, because its error is already reported and `const` would cause further errors in the
    /// body.
    fn inner(&self) -> TokenStream {
        let Handler { sig, body, .. } = self.handler;
        let attrs = &self.attrs.inner;
        let sig = Signature { constness: None, ..sig.clone() };
        quote!(#(#attrs)* #sig #body)
    }

    // Output:
    //     authenticated::<_, (Path<u64>, AppKey,), _>(
    //         { static POLICY: Policy = Policy::new().optional(); &POLICY },
    //         __order_request,
    //         order::<T>,
    //     )
    //
    // The static is in its own block. Items are not hygienic, so without the block the user's
    // function could see the static.
    fn authenticated(&self) -> TokenStream {
        let Self { private, site, request, .. } = self;
        let policy = self.policy();
        let arguments = self.argument_types();
        let handler = instantiated(&self.handler.sig);
        quote_spanned! {*site=>
            #private::authenticated #arguments (
                #policy,
                #request,
                #handler,
            )
        }
    }

    // Input:  async fn order(id: Path<u64>, key: AppKey)
    // Output: ::<_, (Path<u64>, AppKey,), _>
    //
    // With explicit types, the compiler does not try every number of arguments that a handler may
    // have (bench `compile`). The types are left out if the outer function may not be able to name
    // them, or if an inner attribute may add arguments. The types are also left out for a function
    // without `async`. For such a function, they would worsen the compiler's message about a
    // missing future.
    fn argument_types(&self) -> Option<TokenStream> {
        let sig = &self.handler.sig;
        if sig.asyncness.is_none() || !self.attrs.inner.is_empty() {
            return None;
        }
        let types = sig.inputs.iter().map(nameable_type).collect::<Option<Vec<_>>>()?;
        Some(quote_spanned!(self.site=> ::<_, (#(#types,)*), _>))
    }

    /// Returns the code that replaces the call if the function cannot be a handler. The call itself
    /// would cause further errors.
    fn unreachable(&self) -> TokenStream {
        quote_spanned!(self.site=> ::core::unreachable!())
    }

    // Input:
    //     scopes = "orders:read orders:write", optional
    //
    // Output:
    //     {
    //         static POLICY: Policy = Policy::new().scopes("orders:read orders:write").optional();
    //         &POLICY
    //     }
    //
    // All attributes without arguments use the static `ANY_KEY`, which costs the compiler less than
    // a static for each handler (bench `compile`).
    fn policy(&self) -> TokenStream {
        let Self { private, site, args, .. } = self;
        let mut policy = TokenStream::new();
        if let Some(scopes) = &args.scopes {
            policy.extend(quote_spanned!(*site=> .scopes(#scopes)));
        }
        if let Some(scopes) = &args.any_scope {
            policy.extend(quote_spanned!(*site=> .any_scope(#scopes)));
        }
        if args.optional {
            policy.extend(quote_spanned!(*site=> .optional()));
        }
        if policy.is_empty() {
            return quote_spanned!(*site=> &#private::ANY_KEY);
        }
        quote_spanned! {*site=>
            {
                static POLICY: #private::Policy = #private::Policy::new() #policy;
                &POLICY
            }
        }
    }
}

/// Returns the type of an argument if the outer function can name the type. Returns `None` for an
/// argument with an attribute, and for a type with a reference, a lifetime, `Self` or a macro.
fn nameable_type(input: &FnArg) -> Option<&Type> {
    match input {
        FnArg::Typed(input) if input.attrs.is_empty() => {
            is_nameable(input.ty.to_token_stream()).then_some(&*input.ty)
        }
        _ => None,
    }
}

fn is_nameable(tokens: TokenStream) -> bool {
    tokens.into_iter().all(|token| match token {
        TokenTree::Punct(mark) => !matches!(mark.as_char(), '\'' | '&' | '!'),
        TokenTree::Ident(ident) => ident != "Self",
        TokenTree::Group(group) => is_nameable(group.stream()),
        TokenTree::Literal(_) => true,
    })
}

// Input:  <T: Store, U, const N: usize> .. where U: Clock
// Output: <T: Store + 'static, U, const N: usize> .. where U: Clock + 'static
fn outlive_requests(generics: &Generics, site: Span) -> Generics {
    let mut generics = generics.clone();
    let mut predicates = generics.where_clause.as_mut().map(|clause| &mut clause.predicates);
    for parameter in &mut generics.params {
        let GenericParam::Type(parameter) = parameter else {
            continue;
        };
        // The bound goes where the user wrote bounds on this parameter: clippy rejects bounds on
        // the same parameter in both the generics list and the `where` clause.
        let bounds = predicates
            .iter_mut()
            .flat_map(|predicates| predicates.iter_mut())
            .find_map(|predicate| bounds_of(&parameter.ident, predicate));
        let lifetime = Lifetime::new("'static", site);
        bounds.unwrap_or(&mut parameter.bounds).push(TypeParamBound::Lifetime(lifetime));
    }
    generics
}

// Input:  <'a, 'b: 'a, 'c, T: 'c>
// Output: <'c, T: 'c>
//
// The removed lifetimes occur only in the handler's arguments and return type. The outer function
// has other arguments and another return type, so clippy would report the lifetimes as unused.
fn drop_unused_lifetimes(generics: &mut Generics) {
    // Removing a lifetime may leave another lifetime unused.
    while let Some(unused) = unused_lifetime(generics) {
        let parameters = std::mem::take(&mut generics.params).into_iter();
        let used = parameters.enumerate().filter(|(at, _)| *at != unused);
        generics.params = used.map(|(_, parameter)| parameter).collect();
    }
}

fn unused_lifetime(generics: &Generics) -> Option<usize> {
    let mut tokens = generics.params.to_token_stream();
    generics.where_clause.to_tokens(&mut tokens);
    generics.params.iter().position(|parameter| {
        matches!(
            parameter,
            GenericParam::Lifetime(parameter)
                if occurrences(&parameter.lifetime.ident, tokens.clone()) == 1
        )
    })
}

/// Returns how often a name occurs in these tokens.
fn occurrences(name: &Ident, tokens: TokenStream) -> usize {
    let count = |token| match token {
        TokenTree::Ident(ident) => usize::from(ident == *name),
        TokenTree::Group(group) => occurrences(name, group.stream()),
        _ => 0,
    };
    tokens.into_iter().map(count).sum()
}

type Bounds = Punctuated<TypeParamBound, Token![+]>;

fn bounds_of<'a>(parameter: &Ident, predicate: &'a mut WherePredicate) -> Option<&'a mut Bounds> {
    match predicate {
        WherePredicate::Type(predicate) if is_named(&predicate.bounded_ty, parameter) => {
            Some(&mut predicate.bounds)
        }
        _ => None,
    }
}

fn is_named(ty: &Type, name: &Ident) -> bool {
    match ty {
        Type::Path(path) => path.qself.is_none() && path.path.is_ident(name),
        Type::Group(group) => is_named(&group.elem, name),
        _ => false,
    }
}

// Input:  fn order<'a, T: Store, const N: usize>(..)
// Output: order::<T, N>
fn instantiated(sig: &Signature) -> TokenStream {
    let name = &sig.ident;
    let arguments: Vec<_> = sig
        .generics
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            GenericParam::Lifetime(_) => None,
            GenericParam::Type(parameter) => Some(&parameter.ident),
            GenericParam::Const(parameter) => Some(&parameter.ident),
        })
        .collect();
    if arguments.is_empty() {
        name.to_token_stream()
    } else {
        // All tokens have the user's span. If the tokens had another span, clippy would mistake
        // this path for a call.
        quote_spanned!(name.span()=> #name::<#(#arguments),*>)
    }
}
