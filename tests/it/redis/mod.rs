//! A real Redis and the connection to it: unreachable, restarted, slow, full, with a password.

mod connection;
mod gateway;
mod proxy;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use meshgate::config::{self, Config, Sources};
use meshgate::redis::Redis;
use redis::{Client, Commands};
use rustix::process::{Pid, Signal, kill_process};

pub use proxy::{Hold, Proxy};

use super::gateway::{LONG, until};

/// The file with the settings of a server, in its folder. Arguments replace its settings.
const SETTINGS: &str = "redis.conf";

/// A `redis-server` at a socket in its own folder. Dropping it kills the server and deletes its data.
pub struct RedisServer {
    process: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    pub fn start() -> RedisServer {
        RedisServer::with(&[])
    }

    /// Starts a server with these arguments in addition to the usual ones.
    pub fn with(arguments: &[&str]) -> RedisServer {
        RedisServer::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    /// Starts a Sentinel that watches no server.
    pub fn sentinel() -> RedisServer {
        let folder = tempfile::tempdir().unwrap();
        // A Sentinel keeps its state in the file with its settings, and does not start without one.
        std::fs::write(folder.path().join(SETTINGS), "").unwrap();
        RedisServer::start_in(folder, &["--sentinel"])
    }

    fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> RedisServer {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let process = spawn(folder.path(), &arguments);
        let mut server = RedisServer { process, folder, arguments };
        server.until_listening();
        server
    }

    fn until_listening(&mut self) {
        // A server that has ended will never listen.
        until("it listens", || {
            std::os::unix::net::UnixStream::connect(self.socket()).is_ok() || !self.is_alive()
        });
    }

    pub fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A connection to inspect or change its data.
    pub fn connection(&self) -> redis::Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.connection().keys("*").unwrap();
        keys.sort();
        keys
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // A killed server leaves its socket, which would look like that of the next one.
        let _ = std::fs::remove_file(self.socket());
    }

    /// Restarts the killed server with its saved data.
    pub fn restart(&mut self) {
        self.restart_unready();
        until("it has loaded its data", || {
            let connection = redis::Client::open(self.url()).and_then(|client| client.get_connection());
            connection.and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection)).is_ok()
                || !self.is_alive()
        });
    }

    /// Restarts the killed server. It may still load its data.
    fn restart_unready(&mut self) {
        self.process = spawn(self.folder.path(), &self.arguments);
        self.until_listening();
    }

    /// Restarts the killed server with other arguments.
    pub fn restart_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        self.restart_unready();
    }

    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/redis-server");
    assert!(program.exists(), "run: make setup");
    Command::new(program)
        .args(folder.join(SETTINGS).exists().then_some(SETTINGS))
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The settings for a Redis at this address.
pub fn settings(url: &str) -> config::Redis {
    Config::load(&Sources::new([("REDIS_URL".into(), url.into())])).unwrap().redis.unwrap()
}

/// Connects as the service does.
pub async fn connect(url: &str) -> Redis {
    Redis::start(&settings(url), Box::new(|_, _| {})).await.unwrap()
}

/// Waits until Redis counts as up, or as unavailable.
pub async fn until_up(redis: &Redis, up: bool) {
    let began = Instant::now();
    while redis.health().up != up {
        assert!(began.elapsed() < LONG, "never up = {up}: {:?}", redis.health());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
