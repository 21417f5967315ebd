//! A TCP proxy before a server, which breaks the path in the ways networks do. It ends, with its
//! connections, when it is dropped.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often it looks for new connections.
const ACCEPTING: Duration = Duration::from_millis(2);

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where new connections lead.
    to: Mutex<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
    /// Milliseconds by which every answer is late.
    delay: AtomicU64,
}

struct State {
    path: Path,
    listening: bool,
    /// Why it could not take its port again.
    fault: Option<String>,
    connections: Vec<Connection>,
}

/// What becomes of bytes and of new connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Open,
    Held,
    Swallowed,
    Cut,
    Ended,
}

struct Connection {
    client: TcpStream,
    /// Where the server sees it come from.
    port: u16,
    /// Whether whatever it carries from now on is thrown away.
    dead: Arc<AtomicBool>,
}

impl Proxy {
    /// Passes everything on to this server, until it is told otherwise.
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = bind_below_ephemeral_ports();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: Mutex::new(to),
            state: Mutex::new(State {
                path: Path::Open,
                listening: true,
                fault: None,
                connections: Vec::new(),
            }),
            changed: Condvar::new(),
            delay: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(listener, address));
        Self { address, shared }
    }

    /// All is well again: what was held arrives, new connections are served; connections that were
    /// swallowed stay dead.
    pub(crate) fn pass(&self) {
        self.delay_answers(Duration::ZERO);
        let state = self.shared.set_path(Path::Open);
        let closed = |state: &mut State| !state.listening && state.fault.is_none();
        let state = self.shared.changed.wait_while(state, closed).unwrap();
        let fault = state.fault.clone();
        drop(state);
        assert_eq!(fault, None);
    }

    /// A path that stands still: connections stay open and new ones are taken, nothing arrives
    /// until it is told to pass.
    pub(crate) fn hold(&self) {
        drop(self.shared.set_path(Path::Held));
    }

    /// A path that died without a word: connections stay open and new ones are taken, and what they
    /// carry is lost for ever.
    pub(crate) fn swallow(&self) {
        self.shared.set_path(Path::Swallowed).bury_connections();
    }

    /// The connections there are died without a word; new ones are served.
    pub(crate) fn swallow_existing(&self) {
        self.shared.lock().bury_connections();
    }

    /// One connection died without a word: the one that the server sees come from this port.
    pub(crate) fn swallow_one(&self, port: u16) {
        let state = self.shared.lock();
        let found = state.connections.iter().find(|connection| connection.port == port);
        let dead = &found.expect("the server's view of a connection").dead;
        dead.store(true, Ordering::SeqCst);
    }

    /// New connections are taken and what they carry is lost for ever; those there are go on.
    pub(crate) fn swallow_new(&self) {
        drop(self.shared.set_path(Path::Swallowed));
    }

    /// New connections lead to another server; those there are go on.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.shared.to.lock().unwrap() = server;
    }

    /// A server that is gone: connections are cut and new ones refused.
    pub(crate) fn cut(&self) {
        let state = self.shared.set_path(Path::Cut);
        state.close_connections();
        let listening = |state: &mut State| state.listening;
        drop(self.shared.changed.wait_while(state, listening).unwrap());
    }

    /// Every answer comes this much later.
    pub(crate) fn delay_answers(&self, by: Duration) {
        let milliseconds = u64::try_from(by.as_millis()).unwrap();
        self.shared.delay.store(milliseconds, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set_path(Path::Ended).close_connections();
    }
}

impl State {
    fn bury_connections(&self) {
        for connection in &self.connections {
            connection.dead.store(true, Ordering::SeqCst);
        }
    }

    fn close_connections(&self) {
        self.bury_connections();
        for connection in &self.connections {
            // The thread that reads from it then closes the other side.
            let _ = connection.client.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn set_path(&self, path: Path) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.path = path;
        self.changed.notify_all();
        state
    }

    /// Takes connections while there is a path; while it is cut the port is closed, so that the
    /// system refuses them.
    fn accept(self: &Arc<Self>, mut listener: TcpListener, address: SocketAddr) {
        loop {
            if self.lock().path == Path::Cut {
                drop(listener);
                self.set_listening(false);
                let cut = |state: &mut State| state.path == Path::Cut;
                drop(self.changed.wait_while(self.lock(), cut).unwrap());
                listener = match bind(address) {
                    Ok(listener) => listener,
                    Err(fault) => {
                        self.lock().fault = Some(fault);
                        self.changed.notify_all();
                        return;
                    }
                };
                self.set_listening(true);
            }
            if self.lock().path == Path::Ended {
                return;
            }
            match listener.accept() {
                Ok((client, _)) => self.carry(client),
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(ACCEPTING),
                Err(error) => panic!("the proxy cannot accept: {error}"),
            }
        }
    }

    fn set_listening(&self, listening: bool) {
        self.lock().listening = listening;
        self.changed.notify_all();
    }

    /// Starts to carry bytes both ways between this client and the server.
    fn carry(self: &Arc<Self>, client: TcpStream) {
        client.set_nonblocking(false).unwrap();
        let Ok(server) = TcpStream::connect(*self.to.lock().unwrap()) else {
            return;
        };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let mut state = self.lock();
        let dead = Arc::new(AtomicBool::new(state.path == Path::Swallowed));
        if matches!(state.path, Path::Cut | Path::Ended) {
            return;
        }
        state.connections.retain(|connection| Arc::strong_count(&connection.dead) > 1);
        state.connections.push(Connection {
            client: client.try_clone().unwrap(),
            port: server.local_addr().unwrap().port(),
            dead: Arc::clone(&dead),
        });
        drop(state);
        let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let (asking, asking_dead) = (Arc::clone(self), Arc::clone(&dead));
        thread::spawn(move || asking.pump(client, server, &asking_dead, false));
        let answering = Arc::clone(self);
        thread::spawn(move || answering.pump(back.0, back.1, &dead, true));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, dead: &AtomicBool, answers: bool) {
        let mut buffer = [0; 16_384];
        while let Ok(length) = from.read(&mut buffer)
            && length > 0
        {
            if answers {
                self.wait_for_the_delay();
            }
            let held = |state: &mut State| state.path == Path::Held;
            drop(self.changed.wait_while(self.lock(), held).unwrap());
            if !dead.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Until an answer that came now is as late as it is to be, or answers are late no more.
    fn wait_for_the_delay(&self) {
        let came = Instant::now();
        let mut state = self.lock();
        loop {
            let delay = Duration::from_millis(self.delay.load(Ordering::SeqCst));
            let left = delay.saturating_sub(came.elapsed());
            if left.is_zero() {
                return;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap();
        }
    }
}

/// A port that the system does not hand out by itself, so that it is free again after it was closed
/// for a while.
fn bind_below_ephemeral_ports() -> TcpListener {
    let listener = super::free_ports()
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .expect("some port is free");
    listener.set_nonblocking(true).unwrap();
    listener
}

fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let until = Instant::now() + super::TEST_TIMEOUT;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true).unwrap();
                return Ok(listener);
            }
            Err(error) if Instant::now() > until => {
                return Err(format!("{address} was taken: {error}"));
            }
            Err(_) => {}
        }
        thread::sleep(ACCEPTING);
    }
}
