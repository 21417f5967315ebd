//! Measures how a flood of unknown keys affects the keys in use and the memory consumption:
//! `cargo bench -p api-key-tests --bench flood`.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use actix_web::{
    HttpRequest,
    http::StatusCode,
    rt::{System, spawn},
};
use api_key_runtime::AppKeys;

use self::support::{
    Database, Watched, authenticate, figure,
    figures::{self, Progress},
    heading,
    keys::Maker,
    make_keys, process, request,
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// Number of distinct unknown keys. All are well-formed, so each costs a lookup.
const UNKNOWN: usize = 1_000_000;
const HOT: usize = 100;
/// The number of unknown keys for each use of a hot key.
const HOT_EVERY: usize = 10;
const IN_FLIGHT: usize = 256;

/// State shared by all requests in flight.
struct Flood {
    keys: AppKeys,
    maker: Maker,
    hot: Vec<HttpRequest>,
    begun: Cell<usize>,
    shed: Cell<usize>,
    most_mb: Cell<f64>,
    progress: RefCell<Option<Progress>>,
}

fn main() {
    heading();
    let server = Database::server();
    let database = Database::postgres(&server);
    let hot = make_keys(HOT);
    database.insert(&hot);
    database.settle();
    let store = Watched::open(database.url());
    let keys = AppKeys::builder().store(store.clone()).build().unwrap();
    let flood = Rc::new(Flood {
        hot: hot.iter().map(|key| request(&keys, &key.secret)).collect(),
        keys,
        maker: Maker::new(),
        begun: Cell::new(0),
        shed: Cell::new(0),
        most_mb: Cell::new(0.0),
        progress: RefCell::new(Some(Progress::new("unknown keys", UNKNOWN))),
    });
    store.watch(hot.iter().map(|key| key.digest));
    System::new().block_on(async {
        for request in &flood.hot {
            assert_eq!(authenticate(request).await, Ok(()));
        }
        let before_mb = process::resident_mb();
        let under_way: Vec<_> =
            (0..IN_FLIGHT).map(|_| spawn(Rc::clone(&flood).one_after_another())).collect();
        for one in under_way {
            one.await.unwrap();
        }
        report(&flood, &store, before_mb);
    });
}

fn report(flood: &Flood, store: &Watched, before_mb: Option<f64>) {
    flood.sample_memory();
    flood.progress.replace(None);
    let used = HOT + UNKNOWN / HOT_EVERY;
    let hits = 1.0 - store.queries() as f64 / used as f64;
    figure("flood_hit_ratio", hits, "ratio");
    println!(
        "#   {} queries for {used} uses of {HOT} hot keys, their first uses among them",
        store.queries()
    );
    if let Some(before_mb) = before_mb {
        figure("flood_rss_mb", flood.most_mb.get() - before_mb, "MB");
    }
    println!(
        "#   {} of {UNKNOWN} unknown keys were answered 503, all others 401",
        flood.shed.get()
    );
    println!("# load average {} at the end", figures::load_average());
}

impl Flood {
    /// Uses unknown keys one after another, and one hot key per `HOT_EVERY` unknown keys, until all
    /// tasks together have used `UNKNOWN` unknown keys.
    async fn one_after_another(self: Rc<Self>) {
        loop {
            let number = self.begun.get();
            if number == UNKNOWN {
                return;
            }
            self.begun.set(number + 1);
            self.unknown().await;
            if number.is_multiple_of(HOT_EVERY) {
                let hot = &self.hot[number / HOT_EVERY % HOT];
                assert_eq!(authenticate(hot).await, Ok(()));
            }
            if number.is_multiple_of(50_000) {
                self.sample_memory();
            }
            if let Some(progress) = &mut *self.progress.borrow_mut() {
                progress.step();
            }
        }
    }

    async fn unknown(&self) {
        let request = request(&self.keys, &self.maker.make().secret);
        match authenticate(&request).await {
            Err(StatusCode::UNAUTHORIZED) => {}
            Err(StatusCode::SERVICE_UNAVAILABLE) => self.shed.set(self.shed.get() + 1),
            other => panic!("an unknown key was answered {other:?}"),
        }
    }

    fn sample_memory(&self) {
        if let Some(now) = process::resident_mb() {
            self.most_mb.set(self.most_mb.get().max(now));
        }
    }
}
