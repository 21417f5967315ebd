//! A TCP proxy in front of a server, which breaks connections as networks do. Drop ends the proxy
//! and its connections.

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

/// Interval between checks for new connections.
const ACCEPTING: Duration = Duration::from_millis(2);

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// The server for new connections.
    to: Mutex<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
    /// Delay of every response, in milliseconds.
    delay: AtomicU64,
}

struct State {
    path: Path,
    listening: bool,
    /// The reason why the proxy could not listen on its port again.
    fault: Option<String>,
    connections: Vec<Connection>,
}

/// How the proxy treats bytes and new connections.
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
    /// The client port of this connection, as the server sees it.
    port: u16,
    /// Whether bytes on this connection are discarded.
    dead: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy for this server, which passes everything on until a test changes that.
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

    /// Ends all faults: held bytes arrive and new connections work. Connections that became black
    /// holes stay dead.
    pub(crate) fn pass(&self) {
        self.delay_answers(Duration::ZERO);
        let state = self.shared.set_path(Path::Open);
        let closed = |state: &mut State| !state.listening && state.fault.is_none();
        let state = self.shared.changed.wait_while(state, closed).unwrap();
        let fault = state.fault.clone();
        drop(state);
        assert_eq!(fault, None);
    }

    /// Stops the path: connections stay open and new ones are accepted, but nothing arrives until
    /// [`pass`](Self::pass).
    pub(crate) fn hold(&self) {
        drop(self.shared.set_path(Path::Held));
    }

    /// Makes the path a black hole: connections stay open and new ones are accepted, but all bytes
    /// are lost.
    pub(crate) fn swallow(&self) {
        self.shared.set_path(Path::Swallowed).bury_connections();
    }

    /// Makes all existing connections black holes. New connections work.
    pub(crate) fn swallow_existing(&self) {
        self.shared.lock().bury_connections();
    }

    /// Makes the connection with this client port, as the server sees it, a black hole.
    pub(crate) fn swallow_one(&self, port: u16) {
        let state = self.shared.lock();
        let found = state.connections.iter().find(|connection| connection.port == port);
        let dead = &found.expect("a connection with this port at the server").dead;
        dead.store(true, Ordering::SeqCst);
    }

    /// Makes new connections black holes. Existing connections still work.
    pub(crate) fn swallow_new(&self) {
        drop(self.shared.set_path(Path::Swallowed));
    }

    /// Sends new connections to another server. Existing connections do not change.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.shared.to.lock().unwrap() = server;
    }

    /// Acts like a server that is not running: ends connections and refuses new ones.
    pub(crate) fn cut(&self) {
        let state = self.shared.set_path(Path::Cut);
        state.close_connections();
        let listening = |state: &mut State| state.listening;
        drop(self.shared.changed.wait_while(state, listening).unwrap());
    }

    /// Delays every response by this time.
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
            // The thread that reads from the client then closes the other side.
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

    /// Accepts connections unless the path is cut. While the path is cut, the port is closed, so
    /// the system refuses connections.
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

    /// Starts to copy bytes in both directions between this client and the server.
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

    /// Waits for the current delay, or until the delay is removed.
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

/// Binds a port that the system does not assign automatically, so that the port is still free after
/// the proxy has closed it.
fn bind_below_ephemeral_ports() -> TcpListener {
    let listener = super::free_ports()
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .expect("a port is free");
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
