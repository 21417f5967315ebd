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
                __request: ::api_key_runtime::__private::HttpRequest,
                __payload: ::api_key_runtime::__private::Payload,
            ) -> ::api_key_runtime::__private::BoxFuture {
                async fn order(id: web::Path<u64>, key: AppKey) -> Result<impl Responder, Error> { find(*id, &key).await? }
                ::api_key_runtime::__private::authenticated(
                    {
                        static POLICY: ::api_key_runtime::__private::Policy = ::api_key_runtime::__private::Policy::new();
                        &POLICY
                    },
                    __request,
                    __payload,
                    order,
                )
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
                __request: ::api_key_runtime::__private::HttpRequest,
                __payload: ::api_key_runtime::__private::Payload,
            ) -> ::api_key_runtime::__private::BoxFuture
            where
                T: Responder + 'static,
                U: ?Sized + 'a + 'static,
                Vec<S>: Clone,
                for<'x> &'x S: Sized
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
                            ::api_key_runtime::__private::Policy::new().scopes(&["orders:read"]);
                        &POLICY
                    },
                    __request,
                    __payload,
                    order::<S, T, U, N>,
                )
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
        ("<'a>", "<'a>"),
        ("<const N: usize>", "<const N: usize>"),
    ] {
        let output = expand(
            quote!(),
            tokens(&format!("fn list{generics}() -> u8 {{ 1 }}")),
        );
        assert_contains(&output, &tokens(&format!("fn list{expected}")));
    }
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
        let output = expand(
            quote!(),
            tokens(&format!("fn list{generics}() -> u8 {{ 1 }}")),
        );
        assert_contains(
            &output,
            &tokens(&format!("__request, __payload, {expected},")),
        );
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
    assert_eq!(
        above.to_string(),
        quote!(#[get("/list")] #below).to_string()
    );
}
