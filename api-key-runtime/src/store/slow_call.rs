//! A call with a second action that runs if the call is slow.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// Makes a call. If the call takes longer than `after`, runs `if_slow` on another thread as well.
///
/// Returns the result of the call and the result of `if_slow`. If no thread can be started,
/// `if_slow` does not run.
pub(super) fn slow_call<T, S: Send>(
    after: Duration,
    if_slow: impl FnOnce() -> S + Send,
    call: impl FnOnce() -> T,
) -> (T, Option<S>) {
    let (sender, done) = mpsc::channel::<()>();
    let watch = move || match done.recv_timeout(after) {
        Err(RecvTimeoutError::Timeout) => Some(if_slow()),
        _ => None,
    };
    thread::scope(|scope| {
        let watcher = thread::Builder::new().spawn_scoped(scope, watch);
        let result = call();
        drop(sender);
        (result, watcher.ok().and_then(|watcher| watcher.join().ok().flatten()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_call_is_watched() {
        assert_eq!(slow_call(Duration::from_secs(60), || "slow", || 1), (1, None));
        let slow = || thread::sleep(Duration::from_millis(200));
        assert_eq!(slow_call(Duration::from_millis(1), || "slow", slow), ((), Some("slow")));
    }
}
