//! Generic handlers, and handlers that belong to a type or a trait.

use std::{fmt::Debug, future::Future};

use actix_web::{HttpRequest, HttpResponse, Responder, web};
use api_key_runtime::{AppKey, require_app_key};

use super::{get, guarded, ran};

trait Fruit: 'static {
    const NAME: &'static str;

    fn name() -> &'static str {
        Self::NAME
    }
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
struct Apple;

impl Fruit for Apple {
    const NAME: &'static str = "apple";
}

struct Pear;

impl Fruit for Pear {
    const NAME: &'static str = "pear";
}

#[require_app_key]
async fn of_a_type<T: Fruit>(request: HttpRequest) -> String {
    format!("{} {}", ran(request.path()), T::NAME)
}

/// `T` has no `'static` bound, although values that actix-web stores must be `'static`.
#[require_app_key]
async fn unbounded<T>(request: HttpRequest) -> String {
    format!("{} {}", ran(request.path()), size_of::<T>())
}

#[require_app_key]
async fn of_a_constant<const N: usize>(request: HttpRequest) -> String {
    format!("{} {N}", ran(request.path()))
}

#[require_app_key]
async fn of_several<'a, T: Fruit, U, const N: usize, const ASK: bool>(
    request: HttpRequest,
    numbers: web::Query<Vec<(String, usize)>>,
    key: AppKey,
) -> Result<impl Responder, actix_web::Error>
where
    U: Fruit + Sized + 'a,
    [usize; N]: Debug,
    for<'b> &'b T: Sized,
{
    let numbers: [usize; N] = std::array::from_fn(|at| numbers[at].1);
    let (first, second) = (T::name(), U::name());
    let path = ran(request.path());
    Ok(HttpResponse::Ok().body(format!("{path} {first} {second} {numbers:?} {ASK} {}", key.name())))
}

#[require_app_key]
fn future_of_a_type<T>(path: web::Path<String>) -> impl Future<Output = String> + use<T>
where
    T: Fruit,
{
    std::future::ready(format!("{} {}", ran(&format!("/{}", path.into_inner())), T::NAME))
}

#[require_app_key]
async fn extracting<T>(request: HttpRequest, data: web::Data<T>) -> String
where
    T: Debug + ?Sized,
{
    format!("{} {data:?}", ran(request.path()))
}

#[require_app_key]
async fn any_handler_s_argument<T: actix_web::FromRequest + Debug>(
    request: HttpRequest,
    argument: T,
) -> String {
    format!("{} {argument:?}", ran(request.path()))
}

// B13
#[test]
fn a_handler_may_have_types_and_constants() {
    guarded(
        |config| {
            let to = |path, route| (path, route);
            let routes = [
                to("/generic/apple", web::get().to(of_a_type::<Apple>)),
                to("/generic/pear", web::get().to(of_a_type::<Pear>)),
                to("/generic/unbounded", web::get().to(unbounded::<u64>)),
                to("/generic/three", web::get().to(of_a_constant::<3>)),
                to("/generic/four", web::get().to(of_a_constant::<{ 2 + 2 }>)),
                to("/generic/several", web::get().to(of_several::<Apple, Pear, 2, true>)),
                to("/{path:generic/future}", web::get().to(future_of_a_type::<Pear>)),
                to("/generic/data", web::get().to(extracting::<Apple>)),
                to("/generic/unsized", web::get().to(extracting::<str>)),
                to("/generic/argument", web::get().to(any_handler_s_argument::<web::Path<()>>)),
            ];
            config
                .app_data(web::Data::new(Apple))
                .app_data(web::Data::<str>::from(std::sync::Arc::from("text")));
            for (path, route) in routes {
                config.route(path, route);
            }
        },
        &[
            get("/generic/apple").answers(200, "/generic/apple apple"),
            get("/generic/pear").answers(200, "/generic/pear pear"),
            get("/generic/unbounded").answers(200, "/generic/unbounded 8"),
            get("/generic/three").answers(200, "/generic/three 3"),
            get("/generic/four").answers(200, "/generic/four 4"),
            get("/generic/several")
                .at("/generic/several?a=7&b=8")
                .answers(200, "/generic/several apple pear [7, 8] true test"),
            get("/generic/future").answers(200, "/generic/future pear"),
            get("/generic/data").answers(200, "/generic/data Data(Apple)"),
            get("/generic/unsized").answers(200, "/generic/unsized Data(\"text\")"),
            get("/generic/argument").answers(200, "/generic/argument Path(())"),
        ],
    );
}

#[require_app_key]
async fn returned_lifetime<'a>(request: HttpRequest) -> &'a str {
    ran(request.path());
    "lives long enough"
}

#[require_app_key]
async fn lifetimes<'a, 'b: 'a, T>(request: HttpRequest, data: web::Data<T>) -> String
where
    T: Debug + 'a + 'b,
{
    format!("{} {data:?}", ran(request.path()))
}

#[require_app_key]
async fn elided(request: HttpRequest, text: web::Data<std::borrow::Cow<'_, str>>) -> String {
    format!("{} {}", ran(request.path()), text.len())
}

// B13
#[test]
fn a_handler_may_have_lifetimes() {
    guarded(
        |config| {
            config
                .app_data(web::Data::new(Apple))
                .app_data(web::Data::new(std::borrow::Cow::Borrowed("four")))
                .route("/lifetime/returned", web::get().to(returned_lifetime))
                .route("/lifetime/several", web::get().to(lifetimes::<Apple>))
                .route("/lifetime/elided", web::get().to(elided));
        },
        &[
            get("/lifetime/returned").answers(200, "lives long enough"),
            get("/lifetime/several").answers(200, "/lifetime/several Data(Apple)"),
            get("/lifetime/elided").answers(200, "/lifetime/elided 4"),
        ],
    );
}

struct Api;

impl Api {
    const GREETING: &'static str = "hello";

    #[require_app_key]
    async fn list(request: HttpRequest) -> String {
        format!("{} {}", ran(request.path()), Api::GREETING)
    }

    /// A generic handler in an `impl` without parameters.
    #[require_app_key]
    pub(crate) async fn show<T: Fruit>(request: HttpRequest, key: AppKey) -> impl Responder {
        format!("{} {} {}", ran(request.path()), T::NAME, key.name())
    }
}

struct Shelf<T>(#[allow(dead_code, reason = "only its type matters")] T);

impl<T: Fruit> Shelf<T> {
    /// The handler does not use the parameters of its `impl`.
    #[require_app_key]
    async fn count(request: HttpRequest) -> String {
        ran(request.path())
    }
}

/// Handlers of a trait. The attribute treats them like any other handler.
trait Routes {
    #[require_app_key]
    async fn provided(request: HttpRequest) -> String {
        ran(request.path())
    }
}

impl Routes for Api {}

impl Routes for Pear {}

// B13
#[test]
fn a_handler_may_belong_to_a_type_or_a_trait() {
    guarded(
        |config| {
            config
                .route("/associated/list", web::get().to(Api::list))
                .route("/associated/show", web::get().to(Api::show::<Apple>))
                .route("/associated/shelf", web::get().to(Shelf::<Pear>::count))
                .route("/associated/trait", web::get().to(Api::provided))
                .route("/associated/qualified", web::get().to(<Pear as Routes>::provided));
        },
        &[
            get("/associated/list").answers(200, "/associated/list hello"),
            get("/associated/show").answers(200, "/associated/show apple test"),
            get("/associated/shelf"),
            get("/associated/trait"),
            get("/associated/qualified"),
        ],
    );
}
