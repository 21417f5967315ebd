//! A proxy that passes every byte on and records the bytes from clients.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&said);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let kept = Arc::clone(&shared);
                let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(pair.0, pair.1, Some(&kept)));
                thread::spawn(move || pass(server, client, None));
            }
        });
        Self { address, said }
    }

    /// Returns everything that clients have sent since the last call.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, keep: Option<&Mutex<Vec<u8>>>) {
    let mut buffer = [0; 4096];
    while let Ok(length) = from.read(&mut buffer) {
        if let Some(said) = keep {
            said.lock().unwrap().extend_from_slice(&buffer[..length]);
        }
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
