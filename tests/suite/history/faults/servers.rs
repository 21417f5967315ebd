//! Faults of servers: pauses, kills, wrong clocks and broken database connections.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    super::{
        client::Client,
        place::Place,
        pool::Pool,
        seat::{Seat, Seated},
    },
    Breaker,
    database::prune,
};
use crate::support::Proxy;

/// Delay of the database's responses, shorter than any bound, so that the database counts as
/// available.
const LATE: Duration = Duration::from_millis(250);

#[derive(Clone, Copy)]
enum Fault {
    Pause,
    PauseAndPrune,
    Kill,
    SetClock,
    Way(&'static str, fn(&Proxy)),
}

const OF_A_SERVER: [Fault; 5] =
    [Fault::Pause, Fault::Pause, Fault::Kill, Fault::PauseAndPrune, Fault::PauseAndPrune];
/// How long no database fault happens after a pause with pruning. In this time, the server reads
/// changes over its old connection.
const ROUND: Duration = Duration::from_millis(500);
/// The offsets that clocks are set to, in seconds.
const CLOCKS_AHEAD: [i64; 6] = [-86_400, -3600, -2, 0, 2, 3600];
const OF_A_WAY: [Fault; 5] = [
    Fault::Way("connections were cut and refused", Proxy::cut),
    Fault::Way("nothing arrived", Proxy::hold),
    Fault::Way("all bytes were lost", Proxy::swallow),
    Fault::Way("every response was late", |proxy| {
        proxy.delay_answers(LATE);
    }),
    Fault::Way("connections died silently", Proxy::swallow_existing),
];

/// Breaks servers and starts their replacements. A server ends with the thread that started it, so
/// this function runs on the test's own thread, which lives longest.
pub(in super::super) fn break_servers(
    mut breaker: Breaker<'_>,
    (place, pool): (&Place, &Pool),
    seats: &[Seat],
    seated: &mut [Seated],
    stop: &AtomicBool,
) {
    let mut all = OF_A_SERVER.to_vec();
    if seated[0].proxy.is_some() {
        all.extend(OF_A_WAY);
    }
    if seated.iter().any(|seated| seated.clock.is_some()) {
        all.push(Fault::SetClock);
    }
    let mut deck = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(breaker.milliseconds(200, 800));
        let fault = breaker.deal(&mut deck, &all);
        let chosen = breaker.random.below(seats.len());
        breaker.break_server(fault, (place, pool), &seats[chosen], &mut seated[chosen]);
    }
}

impl Breaker<'_> {
    fn break_server(
        &mut self,
        fault: Fault,
        (place, pool): (&Place, &Pool),
        seat: &Seat,
        seated: &mut Seated,
    ) {
        let name = format!("server {}", seat.now().0);
        match fault {
            Fault::Pause => {
                let length = self.milliseconds(50, 2500);
                self.fault(format!("{name} was paused"), || {
                    seated.pause();
                    thread::sleep(length);
                    seated.resume();
                });
            }
            Fault::PauseAndPrune => self.pause_and_prune(place, pool, seat, seated),
            Fault::SetClock => {
                let Some(clock) = &seated.clock else { return };
                let ahead = CLOCKS_AHEAD[self.random.below(CLOCKS_AHEAD.len())];
                self.fault(format!("the clock of {name} was set {ahead} s ahead"), || {
                    clock.set(ahead);
                });
            }
            Fault::Kill => {
                let length = self.milliseconds(1, 400);
                self.fault(format!("{name} was killed and replaced"), || {
                    seated.kill(seat, self.recorder);
                    thread::sleep(length);
                    seated.start(seat, self.recorder);
                });
            }
            Fault::Way(what, damage) => {
                let length = self.milliseconds(50, 3000);
                let fault = format!("between {name} and the database, {what}");
                self.fault(fault, || {
                    let Some(proxy) = &seated.proxy else { return };
                    damage(proxy);
                    thread::sleep(length);
                    proxy.pass();
                });
            }
        }
    }

    /// Pauses a server and prunes the log while keys change. Afterwards the server does not find
    /// these changes in the log.
    fn pause_and_prune(&mut self, place: &Place, pool: &Pool, seat: &Seat, seated: &Seated) {
        // The pause is shorter than the timeout of the feed. After that timeout, a new feed thread
        // would start without a position in the log.
        let length = self.milliseconds(700, 1500);
        let _whole = self.database.lock().unwrap();
        let (mut client, keys) = (Client::new(seat, self.recorder), pool.live());
        client.present_all(&keys);
        let fault = format!("server {} was paused while the change log was pruned", seat.now().0);
        self.fault(fault, || {
            seated.pause();
            prune(place, length);
            seated.resume();
        });
        thread::sleep(ROUND);
        client.present_all(&keys);
    }
}
