//! A running service under test, with one server for each door.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
};

use actix_cors::Cors;
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    rt::{System, spawn},
    web::ServiceConfig,
};

use super::target::{Doors, Dual, ORIGIN, Target};
use crate::support::Database;

/// A function that configures the application behind a door.
pub(super) type Configure = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// The configuration of each door.
pub(super) struct Entrances {
    pub(super) plain: Configure,
    pub(super) recipe: Configure,
    pub(super) proxied: Configure,
    pub(super) cors: Configure,
    pub(super) failing: Configure,
    pub(super) unconfigured: Configure,
}

/// A target that is served until it is dropped.
pub(super) struct Served {
    pub(super) target: Target,
    _servers: Servers,
    _database: Option<Database>,
}

impl Served {
    /// Serves the doors. The database, if any, is dropped after the servers.
    pub(super) fn new(
        entrances: Entrances,
        database: Option<Database>,
        describe: impl FnOnce(Doors) -> Target,
    ) -> Self {
        let (doors, servers) = serve(entrances);
        Self { target: describe(doors), _servers: servers, _database: database }
    }
}

struct Servers {
    handles: Vec<ServerHandle>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for handle in &self.handles {
            // Creating the future sends the stop command. The servers' thread then stops the
            // servers.
            drop(handle.stop(false));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(entrances: Entrances) -> (Doors, Servers) {
    let mut servers: Vec<(Configure, Vec<TcpListener>)> = Vec::new();
    let mut door = |configure: Configure, dual: Option<&TcpListener>| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dual = dual.map(|listener| listener.try_clone().unwrap());
        servers.push((configure, [Some(listener), dual].into_iter().flatten().collect()));
        address
    };
    let (plain_dual, proxied_dual) = (listen_on_both(), listen_on_both());
    let doors = Doors {
        plain: door(entrances.plain, plain_dual.as_ref()),
        recipe: door(entrances.recipe, None),
        proxied: door(entrances.proxied, proxied_dual.as_ref()),
        cors: door(entrances.cors, None),
        failing: door(entrances.failing, None),
        unconfigured: door(entrances.unconfigured, None),
        dual: plain_dual.zip(proxied_dual).map(|(plain, proxied)| Dual {
            plain_by_v4: by_v4(&plain),
            plain_by_v6: by_v6(&plain),
            proxied_by_v4: by_v4(&proxied),
        }),
    };
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        System::new().block_on(async move {
            let servers: Vec<_> = servers
                .into_iter()
                .map(|(configure, listeners)| run(configure, listeners))
                .collect();
            sender.send(servers.iter().map(actix_web::dev::Server::handle).collect()).unwrap();
            let running: Vec<_> = servers.into_iter().map(spawn).collect();
            for server in running {
                server.await.unwrap().unwrap();
            }
        });
    });
    let handles = receiver.recv().unwrap();
    (doors, Servers { handles, thread: Some(thread) })
}

fn run(configure: Configure, listeners: Vec<TcpListener>) -> actix_web::dev::Server {
    let mut server = HttpServer::new(move || {
        let configure = configure.clone();
        App::new().configure(move |config| configure(config))
    })
    .workers(1)
    .shutdown_timeout(1)
    .disable_signals();
    for listener in listeners {
        server = server.listen(listener).unwrap();
    }
    server.run()
}

/// Returns a listener on `[::]` that IPv4 callers reach as well, or `None` if the machine has no
/// IPv6.
fn listen_on_both() -> Option<TcpListener> {
    let listener = TcpListener::bind("[::]:0").ok()?;
    TcpStream::connect(by_v4(&listener)).ok()?;
    Some(listener)
}

/// Returns the result of a case that cannot run without IPv6: an error, unless `TEST_NO_IPV6` is
/// set.
pub(super) fn without_ipv6() -> Result<(), String> {
    match std::env::var_os("TEST_NO_IPV6") {
        Some(_) => Ok(()),
        None => {
            Err("cannot listen on [::]; set TEST_NO_IPV6=1 if this machine has no IPv6".to_owned())
        }
    }
}

fn by_v4(listener: &TcpListener) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()))
}

fn by_v6(listener: &TcpListener) -> Option<SocketAddr> {
    let address =
        SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], listener.local_addr().unwrap().port()));
    TcpStream::connect(address).ok()?;
    Some(address)
}

/// The CORS settings of an application with browser clients at one origin.
pub(super) fn cors() -> Cors {
    Cors::default().allowed_origin(ORIGIN).allow_any_method().allowed_headers([
        "authorization",
        "x-api-key",
        "content-type",
    ])
}
