//! Arguments and bodies of handlers.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse, Responder, dev, get, post,
    web::{self, Buf as _},
};
use api_key_runtime::{AppKey, require_app_key};

use super::{case, get, guarded, ran};

/// The position of this argument in its handler.
struct Argument(usize);

#[derive(Clone, Copy)]
struct Made(usize);

impl FromRequest for Argument {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let mut extensions = request.extensions_mut();
        let Made(made) = extensions.get().copied().unwrap_or(Made(0));
        extensions.insert(Made(made + 1));
        ready(Ok(Self(made)))
    }
}

macro_rules! counts {
    ($(fn $name:ident($($argument:ident)*) on $path:literal)*) => {
        $(
            #[get($path)]
            #[require_app_key]
            #[allow(clippy::too_many_arguments, clippy::many_single_char_names)]
            async fn $name($($argument: Argument,)*) -> String {
                let order: &[Argument] = &[$($argument),*];
                let order: Vec<_> = order.iter().map(|argument| argument.0.to_string()).collect();
                format!("{} {}", ran($path), order.join(","))
            }
        )*

        // B13
        #[test]
        fn a_handler_gets_0_to_16_arguments_in_order() {
            let counts = [$({ let names: &[&str] = &[$(stringify!($argument)),*]; names.len() }),*];
            assert_eq!(counts, std::array::from_fn::<_, 17, _>(|count| count));
            let order = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>().join(",");
            let paths = [$($path),*];
            let cases: Vec<_> = (0..=16)
                .map(|count| get(paths[count]).answers(200, format!("{} {}", paths[count], order(count))))
                .collect();
            guarded(|config| { config$(.service($name))*; }, &cases);
        }
    };
}

counts! {
    fn none() on "/arguments/0"
    fn one(a) on "/arguments/1"
    fn two(a b) on "/arguments/2"
    fn three(a b c) on "/arguments/3"
    fn four(a b c d) on "/arguments/4"
    fn five(a b c d e) on "/arguments/5"
    fn six(a b c d e f) on "/arguments/6"
    fn seven(a b c d e f g) on "/arguments/7"
    fn eight(a b c d e f g h) on "/arguments/8"
    fn nine(a b c d e f g h i) on "/arguments/9"
    fn ten(a b c d e f g h i j) on "/arguments/10"
    fn eleven(a b c d e f g h i j k) on "/arguments/11"
    fn twelve(a b c d e f g h i j k l) on "/arguments/12"
    fn thirteen(a b c d e f g h i j k l m) on "/arguments/13"
    fn fourteen(a b c d e f g h i j k l m n) on "/arguments/14"
    fn fifteen(a b c d e f g h i j k l m n o) on "/arguments/15"
    fn sixteen(a b c d e f g h i j k l m n o p) on "/arguments/16"
}

struct Point {
    x: u32,
    y: u32,
}

impl FromRequest for Point {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(_: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        ready(Ok(Self { x: 3, y: 4 }))
    }
}

#[get("/tuple/{a}/{b}")]
#[require_app_key]
async fn tuple(path: web::Path<(u32, u32)>, (Argument(first), _): (Argument, Argument)) -> String {
    let (a, b) = path.into_inner();
    format!("{} {a} {b} {first}", ran("/tuple"))
}

#[get("/structure")]
#[require_app_key]
async fn structure(Point { x, y: height }: Point) -> String {
    format!("{} {x} {height}", ran("/structure"))
}

#[get("/mutable")]
#[require_app_key]
async fn mutable(mut point: Point, _: Argument, _unused: Argument) -> String {
    point.x += point.y;
    format!("{} {}", ran("/mutable"), point.x)
}

#[get("/bound")]
#[require_app_key]
#[allow(clippy::toplevel_ref_arg)]
async fn bound(whole @ Point { .. }: Point, ref other: Argument) -> String {
    format!("{} {} {}", ran("/bound"), whole.x, other.0)
}

#[get("/configured")]
#[require_app_key]
async fn configured(
    #[cfg(false)] absent: NoSuchType,
    #[cfg(true)] point: Point,
    #[allow(unused_variables)] argument: Argument,
) -> String {
    format!("{} {}", ran("/configured"), point.y)
}

/// Has more arguments than actix-web accepts, but one is removed by `cfg`.
#[get("/seventeen")]
#[require_app_key]
#[allow(clippy::too_many_arguments, reason = "actix-web takes 16")]
#[rustfmt::skip]
async fn seventeen(
    (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (), (): (),
    #[cfg(false)] (): (),
) -> String {
    ran("/seventeen")
}

// B13
#[test]
fn arguments_may_be_patterns_and_have_attributes() {
    guarded(
        |config| {
            config
                .service(tuple)
                .service(structure)
                .service(mutable)
                .service(bound)
                .service(configured)
                .service(seventeen);
        },
        &[
            get("/tuple").at("/tuple/7/8").answers(200, "/tuple 7 8 0"),
            get("/structure").answers(200, "/structure 3 4"),
            get("/mutable").answers(200, "/mutable 7"),
            get("/bound").answers(200, "/bound 3 0"),
            get("/configured").answers(200, "/configured 4"),
            get("/seventeen"),
        ],
    );
}

#[get("/key/first")]
#[require_app_key]
async fn key_first(key: AppKey, _: Argument, _: Argument) -> String {
    format!("{} {}", ran("/key/first"), key.name())
}

#[get("/key/amid")]
#[require_app_key]
async fn key_amid(_: Argument, key: AppKey, _: Argument) -> String {
    format!("{} {}", ran("/key/amid"), key.name())
}

#[get("/key/last")]
#[require_app_key]
async fn key_last(_: Argument, _: Argument, key: AppKey) -> String {
    format!("{} {}", ran("/key/last"), key.name())
}

#[get("/key/twice")]
#[require_app_key]
async fn key_twice((first, _): (AppKey, Argument), second: Option<AppKey>) -> String {
    let second = second.map(|key| key.id());
    format!("{} {}", ran("/key/twice"), second == Some(first.id()))
}

// B13
#[test]
fn the_key_may_be_any_of_the_arguments() {
    guarded(
        |config| {
            config.service(key_first).service(key_amid).service(key_last).service(key_twice);
        },
        &[
            get("/key/first").answers(200, "/key/first test"),
            get("/key/amid").answers(200, "/key/amid test"),
            get("/key/last").answers(200, "/key/last test"),
            get("/key/twice").answers(200, "/key/twice true"),
        ],
    );
}

#[get("/return/{number}")]
#[require_app_key]
async fn early(number: web::Path<i32>) -> HttpResponse {
    let path = ran("/return");
    if *number < 0 {
        return HttpResponse::ImATeapot().body(path);
    }
    HttpResponse::Ok().body(path)
}

#[get("/question/{number}")]
#[require_app_key]
async fn question(number: web::Path<String>) -> Result<String, actix_web::Error> {
    let path = ran("/question");
    let number: u32 = number.parse().map_err(actix_web::error::ErrorConflict)?;
    Ok(format!("{path} {number}"))
}

#[get("/inner-attribute")]
#[require_app_key]
async fn inner_attribute() -> String {
    #![allow(unused_variables)]
    let unused = 1;
    ran("/inner-attribute")
}

type Countdown = Pin<Box<dyn Future<Output = String>>>;

/// Calls itself. The recursive call takes the function's own arguments instead of a request.
#[require_app_key]
fn countdown(point: web::ReqData<u32>) -> Countdown {
    let left = point.into_inner();
    Box::pin(async move {
        if left == 0 {
            return format!("{} done", ran("/countdown"));
        }
        let request = actix_web::test::TestRequest::default().to_http_request();
        request.extensions_mut().insert(left - 1);
        let point = web::ReqData::extract(&request).await.unwrap();
        countdown(point).await
    })
}

/// The handler, its argument and the argument of a function in its body have the same name.
#[get("/echo")]
#[require_app_key]
async fn echo(echo: Argument) -> String {
    fn key(echo: &Argument) -> usize {
        echo.0
    }
    format!("{} {}", ran("/echo"), key(&echo))
}

// B13
#[test]
fn bodies_may_return_early_and_call_themselves() {
    guarded(
        |config| {
            config.service(early).service(question).service(inner_attribute).service(echo).service(
                web::resource("/countdown")
                    .wrap_fn(|request, service| {
                        request.extensions_mut().insert(3_u32);
                        dev::Service::call(service, request)
                    })
                    .to(countdown),
            );
        },
        &[
            get("/return").at("/return/1"),
            get("/return").at("/return/-1").answers(418, "/return"),
            get("/question").at("/question/7").answers(200, "/question 7"),
            get("/question").at("/question/x").answers(409, "invalid digit found in string"),
            get("/inner-attribute"),
            get("/echo").answers(200, "/echo 0"),
            get("/countdown").answers(200, "/countdown done"),
        ],
    );
}

/// An extractor that, like multipart extractors, takes the body away from later extractors. The
/// handler reads the body.
struct Taken(dev::Payload);

impl FromRequest for Taken {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(_: &HttpRequest, body: &mut dev::Payload) -> Self::Future {
        ready(Ok(Self(body.take())))
    }
}

#[post("/body/payload")]
#[require_app_key]
async fn payload(body: web::Payload) -> Result<impl Responder, actix_web::Error> {
    let body = body.to_bytes().await?;
    Ok(format!("{} {}", ran("/body/payload"), body.len()))
}

#[post("/body/stream")]
#[require_app_key]
async fn stream(body: web::Payload) -> HttpResponse {
    ran("/body/stream");
    HttpResponse::Ok().streaming(body)
}

#[post("/body/taken")]
#[require_app_key]
async fn taken(whole: Taken, after: web::Bytes) -> Result<String, actix_web::Error> {
    let request = actix_web::test::TestRequest::default().to_http_request();
    let mut rest = whole.0;
    let body = web::Bytes::from_request(&request, &mut rest).await?;
    let path = ran("/body/taken");
    Ok(format!("{path} {} {}", body.remaining(), after.len()))
}

#[post("/body/text")]
#[require_app_key]
async fn text(_: web::Query<std::collections::HashMap<String, String>>, body: String) -> String {
    format!("{} {body}", ran("/body/text"))
}

#[post("/body/json")]
#[require_app_key]
async fn json(web::Json(numbers): web::Json<Vec<u32>>, request: HttpRequest) -> String {
    format!("{} {numbers:?} {}", ran("/body/json"), request.method())
}

// B13
#[test]
fn a_body_reaches_the_handler_whole() {
    let post = |path| case("POST", path).sends("[1,2]");
    guarded(
        |config| {
            config.service(payload).service(stream).service(taken).service(text).service(json);
        },
        &[
            post("/body/payload").answers(200, "/body/payload 5"),
            post("/body/stream").answers(200, "[1,2]"),
            post("/body/taken").answers(200, "/body/taken 5 0"),
            post("/body/text").answers(200, "/body/text [1,2]"),
            post("/body/json")
                .line("Content-Type: application/json")
                .answers(200, "/body/json [1, 2] POST"),
        ],
    );
}
