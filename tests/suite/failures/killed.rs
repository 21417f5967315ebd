//! Connections that are repeatedly ended, including the feed's connection.

use std::{
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use super::routes;
use crate::support::{
    Database, MAX_STALENESS, Server, TEST_TIMEOUT, fixtures,
    load::{Sample, Stopping, share, steady, with_key},
    wait_until,
};

// F5, E7
// All connections, including the feed's connection, end up to five times a second. A key that is
// revoked during the test is accepted for at most `MAX_STALENESS`.
#[test]
fn constantly_killed_connections_cost_few_503s() {
    const KILL_EVERY: Duration = Duration::from_millis(200);
    const KILLS: usize = 50;
    const EVERY: Duration = Duration::from_millis(20);
    let database = Database::postgres();
    let known = database.issue_many(20);
    let (revoked, id) = database.issue("0.0.0.0");
    database.admin().revoke(id).unwrap();
    let (revoked_later, later_id) = database.issue("0.0.0.0");
    let keys = database.keys();
    let service = Server::start(keys.clone(), routes);
    let address = service.address;
    let stop = &AtomicBool::new(false);
    let (good, bad, later, revoked_at) = thread::scope(|scope| {
        let known = &known;
        let good: Vec<_> = (0..4_usize)
            .map(|first| {
                let mut turn = first;
                let next = move || {
                    turn += 1;
                    with_key(&known[turn % known.len()].0)
                };
                scope.spawn(move || steady(address, EVERY, stop, next))
            })
            .collect();
        let bad = [
            scope.spawn(|| steady(address, EVERY, stop, || with_key(&revoked))),
            scope.spawn(|| {
                let head = || with_key(&fixtures::unknown());
                steady(address, EVERY, stop, head)
            }),
        ];
        let later = scope.spawn(|| steady(address, EVERY, stop, || with_key(&revoked_later)));
        let stopping = Stopping(stop);
        let began = Instant::now();
        let mut revoked_at = None;
        let mut kills = 0;
        while kills < KILLS && began.elapsed() < TEST_TIMEOUT {
            thread::sleep(KILL_EVERY);
            // Ends connections again only after the service has reconnected, even if the machine
            // was paused.
            wait_until("the feed is up to date", || keys.health().is_ready());
            kills += database.end_connections();
            if revoked_at.is_none() && kills > KILLS / 3 {
                database
                    .execute(&format!(
                        "UPDATE api_keys SET revoked_at = now() WHERE id = {later_id}"
                    ))
                    .unwrap();
                revoked_at = Some(Instant::now());
            }
        }
        println!("{kills} connections were ended within {:?}", began.elapsed());
        assert!(kills >= KILLS, "the service did not reconnect: {kills} connections were ended");
        drop(stopping);
        let all = |samples: Vec<thread::ScopedJoinHandle<'_, Vec<Sample>>>| -> Vec<Sample> {
            samples.into_iter().flat_map(|samples| samples.join().unwrap()).collect()
        };
        (all(good), all(bad.into()), later.join().unwrap(), revoked_at.unwrap())
    });
    let refused = share("known keys", &good, 503);
    assert!(good.iter().all(|sample| matches!(sample.status, 200 | 503)));
    assert!(refused < 0.01, "{refused}");
    share("a revoked key and unknown keys", &bad, 401);
    assert!(bad.iter().all(|sample| matches!(sample.status, 401 | 503)));
    share("a key that is revoked during the test", &later, 401);
    let accepted = later.iter().filter(|sample| sample.status == 200);
    let last = accepted.map(|sample| sample.sent).max().unwrap();
    println!(
        "the key was accepted for {:?} after its revocation",
        last.saturating_duration_since(revoked_at)
    );
    assert!(last <= revoked_at + MAX_STALENESS, "a revoked key is still accepted");
}
