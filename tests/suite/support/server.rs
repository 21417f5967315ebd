//! A real server with one worker on a free port of loopback, in a thread of its own; stopped when
//! it is dropped.

use std::{net::SocketAddr, sync::mpsc, thread};

use actix_web::{App, HttpServer, dev::ServerHandle, rt::System, web::ServiceConfig};
use api_key_runtime::AppKeys;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves these routes guarded by these keys.
    pub(crate) fn start(keys: AppKeys, routes: fn(&mut ServiceConfig)) -> Self {
        Self::configured(move |config| {
            config.app_data(keys.clone());
            routes(config);
        })
    }

    /// As [`start`](Self::start), with the access log of these keys.
    pub(crate) fn logged(keys: AppKeys, routes: fn(&mut ServiceConfig)) -> Self {
        Self::configured(move |config| {
            let scope = actix_web::web::scope("").app_data(keys.clone()).wrap(keys.access_log());
            config.service(scope.configure(routes));
        })
    }

    /// Serves whatever this configures, without keys unless it brings them.
    pub(crate) fn configured(
        configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        Self::built(move || {
            let server = HttpServer::new(move || App::new().configure(configure.clone()))
                .workers(1)
                .shutdown_timeout(1)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
            (server.addrs()[0], server.run())
        })
    }

    /// Serves what this builds and tells the address of, such as an application with layers of its
    /// own.
    pub(crate) fn built(
        build: impl FnOnce() -> (SocketAddr, actix_web::dev::Server) + Send + 'static,
    ) -> Self {
        super::programs::build_before_the_suite();
        super::log::install();
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let (address, server) = build();
                sender.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle) = receiver.recv().unwrap();
        Self { address, handle, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The command is sent when the future is made; the server's own thread carries it out.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
