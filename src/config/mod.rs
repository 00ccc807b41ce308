//! What the program is told before it starts: typed, checked, and in one place.
//!
//! `settings` is the one table of names, defaults and help; `sources` reads the environment and the file, `read`
//! makes values of them and collects every mistake.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::engine::blender::protocol::SandboxMode;

/// Everything `meshgate serve` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub environment: Environment,
    pub engine: Engine,
    pub server: Server,
    pub access: Access,
    pub log: Log,
    pub traces: Traces,
}

/// What the defaults are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    #[default]
    Development,
    Production,
}

/// The engine, and what a conversion may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// The Python with bpy.
    pub python: Option<PathBuf>,
    /// The Blender to use instead.
    pub blender: Option<PathBuf>,
    /// Where conversions work on disk.
    pub data_dir: Option<PathBuf>,
    pub sandbox: SandboxMode,
    /// Bytes of address space of one conversion.
    pub memory: u64,
    /// Conversions after which Blender is started afresh.
    pub max_requests: u64,
    /// Bytes of a model once unpacked.
    pub max_unpacked: u64,
}

/// The HTTP server and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub bind: SocketAddr,
    /// Where `/metrics` is served apart from the rest; `None`: with the rest.
    pub metrics: Option<SocketAddr>,
    /// Conversions at a time.
    pub workers: usize,
    /// Conversions that may wait.
    pub queue_limit: usize,
    /// For one conversion, its waiting included.
    pub timeout: Duration,
    /// Bytes of a request's body.
    pub max_file_size: u64,
    /// Between two chunks of a body, and for the headers.
    pub read_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long new requests are still taken after the signal to stop.
    pub shutdown_delay: Duration,
    /// How long running conversions are then waited for.
    pub shutdown_grace: Duration,
}

/// Who may use the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Exact origins, or one `*`; empty: no CORS.
    pub cors_origins: Vec<String>,
    /// Empty: nobody is asked for a key.
    pub api_keys: Vec<ApiKey>,
}

/// A client's key. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// For logs and metrics.
    pub name: String,
    /// BLAKE3 of the key; compare it in constant time.
    pub digest: [u8; 32],
}

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A filter of tracing, checked.
    pub filter: String,
    pub format: LogFormat,
    /// Written besides standard output; a new one each day.
    pub file: Option<PathBuf>,
    /// How many of them are kept.
    pub files: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Plain,
    Json,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The URL of an OTLP receiver (gRPC); `None`: no traces.
    pub endpoint: Option<String>,
}

impl fmt::Debug for ApiKey {
    /// The digest of a weak key could be guessed from; it stays out of logs like the key.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}
