//! Servers that are paused or killed, clocks that are set, and ways to the database that are damaged.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    super::seat::{Seat, Seated},
    Breaker,
};
use crate::support::Proxy;

/// How late answers of the database are: less than a server may be behind, so that it is not away.
const LATE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy)]
enum Fault {
    Pause,
    Kill,
    SetClock,
    Way(&'static str, fn(&Proxy)),
}

const OF_A_SERVER: [Fault; 4] = [Fault::Pause, Fault::Kill, Fault::Pause, Fault::Pause];
/// By how many seconds a clock is ahead once it was set.
const CLOCKS_AHEAD: [i64; 6] = [-86_400, -3600, -2, 0, 2, 3600];
const OF_A_WAY: [Fault; 5] = [
    Fault::Way("its connections were cut and none made", Proxy::cut),
    Fault::Way("nothing came through", Proxy::hold),
    Fault::Way("all was lost", Proxy::swallow),
    Fault::Way("every answer was late", |proxy| {
        proxy.delay_answers(LATE);
    }),
    Fault::Way("its connections died without a word", Proxy::swallow_existing),
];

/// It is also who starts servers, and they end with the thread that did: it runs on the one that lives longest.
pub(in super::super) fn break_servers(
    mut breaker: Breaker<'_>,
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
        breaker.break_server(fault, &seats[chosen], &mut seated[chosen]);
    }
}

impl Breaker<'_> {
    fn break_server(&mut self, fault: Fault, seat: &Seat, seated: &mut Seated) {
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
                let length = self.milliseconds(50, 2000);
                let fault = format!("on the way from {name} to the database {what}");
                self.fault(fault, || {
                    let Some(proxy) = &seated.proxy else { return };
                    damage(proxy);
                    thread::sleep(length);
                    proxy.pass();
                });
            }
        }
    }
}
