//! A proxy that delays the answers of Redis, or stops everything at a command.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::RedisServer;

/// A TCP proxy for a Redis.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

/// What gets lost of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Redis never gets it.
    Command,
    /// Redis has done it, and its answer never arrives.
    Answer,
}

#[derive(Default)]
struct Shared {
    /// Milliseconds by which answers are delayed.
    delay: AtomicU64,
    accepted: AtomicU64,
    hold: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Free,
    /// Waits for a command with this text.
    Armed(Hold, Vec<u8>),
    /// The connection of this number has sent the command; its next answer is held.
    Sent(u64),
    Holding,
}

impl Proxy {
    pub fn to(server: &RedisServer) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let (of_connections, socket) = (Arc::clone(&shared), server.socket());
        // The thread ends with the tests' process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = of_connections.accepted.fetch_add(1, Ordering::Relaxed);
                forward(client, &socket, number, &of_connections);
            }
        });
        Proxy { port, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Delays answers from now on.
    pub fn delay(&self, by: Duration) {
        self.shared.delay.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Stops all connections at the next command that contains `text`, until [`Proxy::release`].
    pub fn hold(&self, hold: Hold, text: &str) {
        *self.shared.hold.lock().unwrap() = State::Armed(hold, text.into());
    }

    /// Whether the command has come.
    pub fn is_holding(&self) -> bool {
        matches!(*self.shared.hold.lock().unwrap(), State::Holding)
    }

    /// Lets the other connections go on. Those that wait with a held command or answer are closed, and lose it.
    pub fn release(&self) {
        *self.shared.hold.lock().unwrap() = State::Free;
        self.shared.released.notify_all();
    }
}

impl Shared {
    /// Called with what a client sends; returns whether to pass it on.
    fn command(&self, connection: u64, bytes: &[u8]) -> bool {
        let mut state = self.hold.lock().unwrap();
        if let State::Armed(hold, text) = &*state
            && bytes.windows(text.len()).any(|window| window == text)
        {
            if *hold == Hold::Answer {
                *state = State::Sent(connection);
                return true;
            }
            *state = State::Holding;
            drop(self.released.wait_while(state, |state| matches!(state, State::Holding)).unwrap());
            return false;
        }
        drop(self.released.wait_while(state, |state| matches!(state, State::Holding)).unwrap());
        true
    }

    /// Called before Redis' answers are passed on; returns whether to do that.
    fn answer(&self, connection: u64) -> bool {
        let mut state = self.hold.lock().unwrap();
        if matches!(*state, State::Sent(number) if number == connection) {
            *state = State::Holding;
        }
        let held = matches!(*state, State::Holding);
        drop(self.released.wait_while(state, |state| matches!(state, State::Holding)).unwrap());
        thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
        !held
    }
}

fn forward(client: TcpStream, socket: &Path, connection: u64, shared: &Arc<Shared>) {
    // Without Redis, the client's connection is closed.
    let Ok(server) = UnixStream::connect(socket) else { return };
    client.set_nodelay(true).unwrap();
    let (to_server, from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let (of_commands, of_answers) = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || {
        copy(from_client, &to_server, |bytes| of_commands.command(connection, bytes));
        let _ = to_server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        copy(server, &client, |_| of_answers.answer(connection));
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// Copies until the end, or until `passes` is false.
fn copy(mut from: impl Read, mut to: impl Write, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
