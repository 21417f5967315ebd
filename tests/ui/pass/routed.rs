//! The registration of the handlers of all modules, as in a user's application.

use actix_web::web::{get, ServiceConfig};

use crate::{
    arguments, attributes, bare, dead_code, from_macro_rules, generic, returns, runtime_elsewhere,
};

/// Registers every handler.
pub fn register(config: &mut ServiceConfig) {
    config
        .service(arguments::nothing)
        .service(arguments::known)
        .service(arguments::optional)
        .service(arguments::patterns)
        .service(arguments::upload)
        .service(arguments::sixteen)
        .service(attributes::several_routes)
        .service(attributes::under_a_renamed_route_macro)
        .service(attributes::conditional)
        .service(attributes::lint_levels)
        .service(attributes::documented)
        .service(from_macro_rules::made)
        .service(from_macro_rules::first)
        .service(from_macro_rules::second)
        .service(returns::result)
        .service(returns::either)
        .service(returns::ready_at_once)
        .service(returns::future)
        .service(returns::boxed)
        .service(runtime_elsewhere::through_a_facade)
        .service(runtime_elsewhere::under_another_name)
        .route("/bare", get().to(bare::bare))
        .route("/helper", get().to(dead_code::calls_all_it_has))
        .route("/named/{name}", get().to(generic::named::<String>))
        .route("/count", get().to(generic::count::<u8, u16, 3>));
}
