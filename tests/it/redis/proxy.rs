//! A proxy that delays the answers of Redis.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::RedisServer;

/// A TCP proxy for a Redis that can delay answers.
pub struct Proxy {
    pub port: u16,
    delay: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
}

impl Proxy {
    pub fn to(server: &RedisServer) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (delay, accepted) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (of_answers, connections, socket) = (Arc::clone(&delay), Arc::clone(&accepted), server.socket());
        // The thread ends with the tests' process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::Relaxed);
                forward(client, &socket, &of_answers);
            }
        });
        Proxy { port, delay, accepted }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Delays answers from now on.
    pub fn delay(&self, by: Duration) {
        self.delay.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

fn forward(client: TcpStream, socket: &PathBuf, delay: &Arc<AtomicU64>) {
    // Without Redis, the client's connection is closed.
    let Ok(server) = UnixStream::connect(socket) else { return };
    client.set_nodelay(true).unwrap();
    let (to_server, from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        copy(from_client, &to_server, || {});
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let delay = Arc::clone(delay);
    thread::spawn(move || {
        copy(server, &client, || thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed))));
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn copy(mut from: impl Read, mut to: impl Write, wait: impl Fn()) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        wait();
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
