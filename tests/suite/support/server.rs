//! A real server with one worker on a free loopback port, in its own thread. It stops on drop.

use std::{net::SocketAddr, sync::mpsc, thread};

use actix_web::{App, HttpServer, dev::ServerHandle, rt::System, web::ServiceConfig};
use api_key_runtime::AppKeys;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves these routes, guarded by these keys.
    pub(crate) fn start(keys: AppKeys, routes: fn(&mut ServiceConfig)) -> Self {
        Self::configured(move |config| {
            config.app_data(keys.clone());
            routes(config);
        })
    }

    /// Serves routes as [`start`](Self::start) does, with the access log of these keys.
    pub(crate) fn logged(keys: AppKeys, routes: fn(&mut ServiceConfig)) -> Self {
        Self::configured(move |config| {
            let scope = actix_web::web::scope("").app_data(keys.clone()).wrap(keys.access_log());
            config.service(scope.configure(routes));
        })
    }

    /// Serves an application with this configuration, which must register keys if it needs them.
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

    /// Runs the server that `build` returns with its address. Tests use this function for
    /// applications with their own middleware.
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
        // Creating the future sends the stop command. The server's thread then stops the server.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
