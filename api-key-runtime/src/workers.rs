//! Tracks the threads of one `AppKeys`, so that closing can wait for the threads and name hung
//! threads.

use std::{
    io,
    sync::{Arc, Condvar, Mutex},
    thread::{self, ThreadId},
    time::Duration,
};

use crate::lock::{lock, wait_timeout_while};

/// The running threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Vec<(ThreadId, String)>>,
    /// Signalled when a thread ends.
    ended: Condvar,
}

impl Workers {
    /// Starts a thread. The thread counts as running until `work` is dropped, with everything that
    /// `work` owns.
    pub(crate) fn spawn(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let (workers, name) = (self.clone(), name.into());
        // The lock is held until the thread is counted, because the thread may end before `spawn`
        // returns.
        let mut running = lock(&self.0.running);
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            let _running = Running(workers);
            work();
        })?;
        running.push((thread.thread().id(), name));
        Ok(())
    }

    /// Waits until every thread has ended, up to the timeout. Returns the names of the threads that
    /// are still running. Does not wait for the calling thread.
    pub(crate) fn wait_until_ended(&self, timeout: Duration) -> Vec<String> {
        let own = thread::current().id();
        let running =
            wait_timeout_while(&self.0.ended, lock(&self.0.running), timeout, |running| {
                running.iter().any(|(id, _)| *id != own)
            });
        running.iter().filter(|(id, _)| *id != own).map(|(_, name)| name.clone()).collect()
    }
}

/// A value that a thread drops last, even after a panic, to record that the thread ends.
struct Running(Workers);

impl Drop for Running {
    fn drop(&mut self) {
        let own = thread::current().id();
        lock(&self.0.0.running).retain(|(id, _)| *id != own);
        self.0.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    // F11
    #[test]
    fn hanging_threads_are_named_and_ended_threads_are_not() {
        let workers = Workers::default();
        let (let_go, hanging) = mpsc::channel::<()>();
        workers.spawn("short", || ()).unwrap();
        workers.spawn("panics", || panic!("a bug")).unwrap();
        workers.spawn("hangs", move || assert!(hanging.recv().is_err())).unwrap();
        while workers.wait_until_ended(SOON) != ["hangs"] {}
        drop(let_go);
        assert!(workers.wait_until_ended(LONG).is_empty());
    }

    // F11
    // A store may drop the last handle of an `AppKeys` during a call. The thread of that call then
    // waits for all threads except itself.
    #[test]
    fn a_thread_does_not_wait_for_itself() {
        let workers = Workers::default();
        let (sender, receiver) = mpsc::channel();
        let own = workers.clone();
        workers.spawn("own", move || sender.send(own.wait_until_ended(LONG)).unwrap()).unwrap();
        assert!(receiver.recv_timeout(LONG).unwrap().is_empty());
    }
}
