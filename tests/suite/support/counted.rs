//! A server that counts its requests, so that a test can wait until its requests have begun.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::{App, HttpServer, dev::Service as _, web::ServiceConfig};
use api_key_runtime::AppKeys;

use super::{Server, wait_until};

pub(crate) struct CountedServer {
    pub(crate) address: SocketAddr,
    begun: Arc<AtomicUsize>,
    _server: Server,
}

impl CountedServer {
    /// Starts a server as [`Server::start`] does.
    pub(crate) fn start(keys: AppKeys, routes: fn(&mut ServiceConfig)) -> Self {
        let begun = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&begun);
        let server = Server::built(move || {
            let server = HttpServer::new(move || {
                let counter = Arc::clone(&counter);
                App::new()
                    .app_data(keys.clone())
                    .wrap_fn(move |request, service| {
                        let counter = Arc::clone(&counter);
                        let mut answer = Box::pin(service.call(request));
                        let mut is_counted = false;
                        poll_fn(move |context| {
                            let answered = answer.as_mut().poll(context);
                            if !is_counted {
                                counter.fetch_add(1, Ordering::SeqCst);
                                is_counted = true;
                            }
                            answered
                        })
                    })
                    .configure(routes)
            })
            .workers(1)
            .shutdown_timeout(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .unwrap();
            (server.addrs()[0], server.run())
        });
        Self { address: server.address, begun, _server: server }
    }

    /// Waits until this many requests have begun. Some may already have their response.
    #[track_caller]
    pub(crate) fn wait_for(&self, requests: usize) {
        wait_until(format!("{requests} requests have begun"), || {
            self.begun.load(Ordering::SeqCst) >= requests
        });
    }
}
