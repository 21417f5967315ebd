//! Handlers from a `macro_rules!`, whose fragments are in invisible groups.

use quote::quote;

use super::{assert_expands, fragment};

#[test]
fn every_kind_of_fragment() {
    let [attr, vis, ty, ret, body] = [
        quote!(get("/orders")),
        quote!(pub(crate)),
        quote!(web::Path<u64>),
        quote!(Result<String, Error>),
        quote!({ Ok(id.to_string()) }),
    ]
    .map(fragment);
    assert_expands(
        "",
        quote!(#[#attr] #[doc = "Made."] #vis async fn order(id: #ty) -> #ret #body),
        &quote! {
            #[get("/orders")]
            #[doc = "Made."]
            pub(crate) fn order(
                __order_request: ::api_key_runtime::__private::UncheckedRequest,
            ) -> ::api_key_runtime::__private::BoxFuture {
                fn order(_: ::api_key_runtime::__private::AnAttributeBelowRemovedTheHandler) {}
                {
                    async fn order(id: #ty) -> #ret { Ok(id.to_string()) }
                    ::api_key_runtime::__private::authenticated::<_, (#ty,), _>(
                        &::api_key_runtime::__private::ANY_KEY,
                        __order_request,
                        order,
                    )
                }
            }
        },
    );
}
