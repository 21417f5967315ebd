use quote::quote;

use super::{assert_contains, assert_expands, tokens};
use crate::expand::expand;

#[test]
fn of_a_handler() {
    assert_expands(
        "",
        quote! {
            async fn order(id: web::Path<u64>, key: AppKey) -> Result<impl Responder, Error> { find(*id, &key).await? }
        },
        &quote! {
            fn order(
                __order_request: ::api_key_runtime::__private::UncheckedRequest,
            ) -> ::api_key_runtime::__private::BoxFuture {
                fn order(_: ::api_key_runtime::__private::AnAttributeBelowRemovedTheHandler) {}
                {
                    async fn order(id: web::Path<u64>, key: AppKey) -> Result<impl Responder, Error> { find(*id, &key).await? }
                    ::api_key_runtime::__private::authenticated::<_, (web::Path<u64>, AppKey,), _>(
                        &::api_key_runtime::__private::ANY_KEY,
                        __order_request,
                        order,
                    )
                }
            }
        },
    );
}

#[test]
fn of_a_generic_handler() {
    assert_expands(
        r#"scopes = "orders:read""#,
        quote! {
            /// One.
            #[inline]
            #[tracing::instrument]
            pub(crate) fn order<'a, S: Store + Clone, T, U, const N: usize>(id: [Id<S>; N]) -> impl Future<Output = T> + use<'a, S, T, U, N>
            where
                T: Responder,
                U: ?Sized + 'a,
                Vec<S>: Clone,
                for<'x> &'x S: Sized
            {
                #![allow(unused)]
                order::<S, T, U, N>(id)
            }
        },
        &quote! {
            /// One.
            #[inline]
            pub(crate) fn order<'a, S: Store + Clone + 'static, T, U, const N: usize>(
                __order_request: ::api_key_runtime::__private::UncheckedRequest,
            ) -> ::api_key_runtime::__private::BoxFuture
            where
                T: Responder + 'static,
                U: ?Sized + 'a + 'static,
                Vec<S>: Clone,
                for<'x> &'x S: Sized
            {
                fn order<'a, S: Store + Clone + 'static, T, U, const N: usize>(
                    _: ::api_key_runtime::__private::AnAttributeBelowRemovedTheHandler
                )
                where
                    T: Responder + 'static,
                    U: ?Sized + 'a + 'static,
                    Vec<S>: Clone,
                    for<'x> &'x S: Sized
                {}
                {
                    #[tracing::instrument]
                    fn order<'a, S: Store + Clone, T, U, const N: usize>(id: [Id<S>; N]) -> impl Future<Output = T> + use<'a, S, T, U, N>
                    where
                        T: Responder,
                        U: ?Sized + 'a,
                        Vec<S>: Clone,
                        for<'x> &'x S: Sized
                    {
                        #![allow(unused)]
                        order::<S, T, U, N>(id)
                    }
                    ::api_key_runtime::__private::authenticated(
                        {
                            static POLICY: ::api_key_runtime::__private::Policy =
                                ::api_key_runtime::__private::Policy::new().scopes("orders:read");
                            &POLICY
                        },
                        __order_request,
                        order::<S, T, U, N>,
                    )
                }
            }
        },
    );
}

#[test]
fn bounds_every_type_parameter() {
    for (generics, expected) in [
        ("<T>", "<T: 'static>"),
        ("<T,>", "<T: 'static,>"),
        ("<T: A>", "<T: A + 'static>"),
        ("<T: A +>", "<T: A + 'static>"),
        ("<'a, T: 'a>", "<'a, T: 'a + 'static>"),
        ("<const N: usize>", "<const N: usize>"),
    ] {
        let output = expand(quote!(), tokens(&format!("fn list{generics}() -> u8 {{ 1 }}")));
        assert_contains(&output, &tokens(&format!("fn list{expected}")));
    }
}

#[test]
fn has_no_lifetimes_that_only_the_handler_needs() {
    for (generics, expected) in [
        ("<'a>", "()"),
        ("<'a, 'b: 'a, 'c: 'b + 'a>", "()"),
        ("<'a, 'b: 'a, 'c, T: 'c>", "<'c, T: 'c + 'static>()"),
        ("<'a, T: Of<[&'a u8; 2]>, 'b>", "<'a, T: Of<[&'a u8; 2]> + 'static>()"),
        ("<'a, const N: usize>", "<const N: usize>()"),
    ] {
        let handler = tokens(&format!("fn list{generics}() -> &'a u8 {{ 1 }}"));
        let arguments = "(__list_request: ::api_key_runtime::__private::UncheckedRequest,";
        let expected = expected.replace("()", arguments);
        let output = expand(quote!(), handler).to_string().replace(' ', "");
        let expected = format!("fn list{expected}").replace(' ', "");
        assert!(output.starts_with(&expected), "{output}");
    }
    let output = expand(
        quote!(),
        quote!(
            fn list<'a, 'b, T>() -> &'b u8
            where
                T: 'a,
            {
                1
            }
        ),
    );
    assert_contains(&output, &quote!(fn list<'a, T>));
}

#[test]
fn names_the_types_and_constants_of_the_handler() {
    for (generics, expected) in [
        ("", "list"),
        ("<>", "list"),
        ("<'a, 'b: 'a>", "list"),
        ("<T>", "list::<T>"),
        ("<'a, T: 'a, const N: usize, U,>", "list::<T, N, U>"),
    ] {
        let output = expand(quote!(), tokens(&format!("fn list{generics}() -> u8 {{ 1 }}")));
        assert_contains(&output, &tokens(&format!("__list_request, {expected},")));
    }
}

#[test]
fn names_only_argument_types_that_mean_the_same_outside() {
    for (arguments, expected) in [
        ("", "()"),
        ("id: Path<u64>", "(Path<u64>,)"),
        ("Path(id): Path<(u64, T)>, key: Option<AppKey>", "(Path<(u64, T)>, Option<AppKey>,)"),
        ("id: &'static Id", "_"),
        ("id: &Id", "_"),
        ("id: Id<'_>, key: AppKey", "_"),
        ("id: Path<Self>", "_"),
        ("id: id!()", "_"),
        ("#[cfg(feature)] id: Id", "_"),
    ] {
        let output =
            expand(quote!(), tokens(&format!("async fn list<T>({arguments}) -> u8 {{ 1 }}")));
        let output = output.to_string().replace(' ', "");
        let expected = match expected {
            "_" => "authenticated(".to_owned(),
            types => format!("authenticated::<_,{},_>(", types.replace(' ', "")),
        };
        assert!(output.contains(&expected), "{output}");
    }
}

#[test]
fn names_no_types_of_other_functions() {
    for handler in
        ["#[protect] async fn list(key: AppKey) -> u8 { 1 }", "fn list() -> Listed { 1 }"]
    {
        let output = expand(quote!(), tokens(handler));
        assert!(output.to_string().replace(' ', "").contains("::authenticated("), "{output}");
    }
}

#[test]
fn is_the_same_above_and_below_a_route_macro() {
    let handler = quote!(
        async fn list() -> &'static str {
            "all"
        }
    );
    let below = expand(quote!(), handler.clone());
    let above = expand(quote!(), quote!(#[get("/list")] #handler));
    assert_eq!(above.to_string(), quote!(#[get("/list")] #below).to_string());
}

// A route macro turns `fn __request` into a unit struct, and an argument cannot have the name of a
// unit struct in scope.
#[test]
fn names_its_argument_after_the_handler() {
    for (name, expected) in [
        ("__request", "__request_request"),
        ("__request_request", "__request_request_request"),
        ("r#type", "type_request"),
    ] {
        let output = expand(quote!(), tokens(&format!("fn {name}() -> u8 {{ 1 }}")));
        let output = output.to_string().replace(' ', "");
        let expected = format!("fn{name}(__{expected}:::api_key_runtime::");
        assert!(output.starts_with(&expected), "{output}");
    }
}
