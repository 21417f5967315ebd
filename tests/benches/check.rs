//! What the check itself costs, as ratios within one run: `cargo bench -p api-key-tests --bench check`.
//!
//! Each figure is the median of several rounds in which the two sides alternate, one line a figure: `name value unit`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{hint::black_box, time::Instant};

use actix_web::{
    FromRequest as _, HttpRequest, HttpResponse, dev, rt::System, test::TestRequest, web::Payload,
};
use api_key_runtime::{__private::authenticated, AppKeys, Policy, test_util::MemoryStore};

const ROUNDS: usize = 31;
const CALLS: usize = 2000;

static POLICY: Policy = Policy::new();

async fn handler() -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn request(keys: &AppKeys, key: &str) -> HttpRequest {
    TestRequest::get()
        .insert_header(("X-API-Key", key))
        .app_data(keys.clone())
        .to_http_request()
}

/// Seconds for many calls of the very function the attribute awaits.
async fn seconds(request: &HttpRequest) -> f64 {
    let started = Instant::now();
    for _ in 0..CALLS {
        let payload = Payload::from_request(request, &mut dev::Payload::None)
            .await
            .unwrap();
        let answer = authenticated(&POLICY, request.clone(), payload, handler).await;
        assert_eq!(black_box(answer).status(), 401);
    }
    started.elapsed().as_secs_f64()
}

/// The median over the rounds of the one side's time divided by the other's.
async fn ratio(one: &HttpRequest, other: &HttpRequest) -> f64 {
    let mut ratios = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        ratios.push(seconds(one).await / seconds(other).await);
    }
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

fn main() {
    let keys = AppKeys::builder()
        .store(MemoryStore::default())
        .build()
        .unwrap();
    System::new().block_on(async {
        let short = request(&keys, "bad");
        for (name, length) in [
            ("refuse_257_bytes_over_3", 257),
            ("refuse_100_kb_over_3", 100_000),
        ] {
            let long = request(&keys, &"k".repeat(length));
            println!("{name} {:.2} ratio", ratio(&long, &short).await);
        }
    });
}
