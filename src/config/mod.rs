//! What the program is told before it starts: typed, checked, and in one place.
//!
//! `settings` is the one table of names, defaults and help; `sources` holds what was given, `reader` makes values of
//! it and collects every mistake, `spelling` finds the names that were meant otherwise, `document` writes help.

mod reader;
mod redis;
pub mod reference;
#[cfg(test)]
mod secret_tests;
pub mod settings;
mod sources;
mod storage;
mod suggestions;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use reader::{Mistakes, Reader};
pub use redis::Redis;
pub use sources::Sources;
pub use storage::{Cache, CloudOptions, Place, Storage};
pub use values::Secret;

use crate::domain::SandboxMode;

/// Everything `meshgate serve` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub environment: Environment,
    pub engine: Engine,
    pub storage: Storage,
    /// `None`: every conversion is carried out.
    pub cache: Option<Cache>,
    pub server: Server,
    pub access: Access,
    /// What processes share; `None`: this one is alone.
    pub redis: Option<Redis>,
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
    /// Where conversions work on disk, and results are kept.
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
    /// Bytes of all bodies that have not come to their end.
    pub max_uploads_size: u64,
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
    /// Whose results and reports a request finds.
    pub cache_scope: CacheScope,
    /// Of each client that has no limit of its own.
    pub rate_limit: RateLimit,
}

/// Who shares cached results, and the reports of conversions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Each API key has its own.
    Key,
    /// All clients have the same.
    Shared,
}

/// How many conversions a client may ask for in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// 0: as many as it likes.
    pub requests: u32,
    /// Whole seconds, one at least.
    pub window: Duration,
}

/// A client's key. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// For logs and metrics.
    pub name: String,
    /// BLAKE3 of the key; compare it in constant time.
    pub digest: [u8; 32],
    /// How many conversions it may ask for in the window of [`RateLimit`], where that is its own; 0: as many as it likes.
    pub requests: Option<u32>,
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

/// How many may wait for each that is at work, unless something else is set.
const WAITING_PER_WORKER: usize = 4;

/// How many of the largest bodies may be on their way, unless something else is set.
const UPLOADS_AT_ONCE: u64 = 32;

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// Every mistake there is, not only the first.
    pub fn load(sources: &Sources) -> Result<Config, Mistakes> {
        let mut reader = Reader::new(sources);
        let config = Config::read(&mut reader);
        reader.finish(config)
    }

    /// Reads everything; the reader has the mistakes, and what is wrong is as usual.
    pub fn read(reader: &mut Reader) -> Config {
        Config {
            environment: reader.environment(),
            engine: Engine::read(reader),
            storage: Storage::read(reader),
            cache: Cache::read(reader),
            server: Server::read(reader),
            access: Access::read(reader),
            redis: Redis::read(reader),
            log: Log::read(reader),
            traces: Traces { endpoint: reader.given(&settings::OTEL_EXPORTER_OTLP_ENDPOINT) },
        }
    }
}

impl Engine {
    pub fn read(reader: &mut Reader) -> Engine {
        Engine {
            python: reader.given(&settings::BLENDER_PYTHON),
            blender: reader.given(&settings::BLENDER_BIN),
            data_dir: reader.given(&settings::DATA_DIR),
            sandbox: reader.read(&settings::SANDBOX),
            memory: reader.read(&settings::WORKER_MEMORY_LIMIT),
            max_requests: reader.read(&settings::WORKER_MAX_REQUESTS),
            max_unpacked: reader.read(&settings::MAX_UNPACKED_SIZE),
        }
    }
}

impl Server {
    fn read(reader: &mut Reader) -> Server {
        let bind = reader.read(&settings::BIND_ADDRESS);
        let metrics = reader.given(&settings::METRICS_ADDRESS);
        if metrics.is_some_and(|metrics| clash(metrics, bind)) {
            reader.mistake(
                "METRICS_ADDRESS has the port of BIND_ADDRESS: set another port, or unset it to have /metrics served there".to_owned(),
            );
        }
        let workers = reader.given_if(&settings::WORKERS, |workers| *workers > 0);
        let workers = workers.unwrap_or_else(|| reader.usual(&settings::WORKERS));
        let max_file_size = reader.read(&settings::MAX_FILE_SIZE);
        let max_uploads_size = reader.given(&settings::MAX_UPLOADS_SIZE);
        // One client has half of it.
        if max_uploads_size.is_some_and(|all| all / 2 < max_file_size) {
            reader.mistake("MAX_UPLOADS_SIZE takes 2 × MAX_FILE_SIZE at least".to_owned());
        }
        Server {
            bind,
            metrics,
            workers,
            queue_limit: reader.given(&settings::QUEUE_LIMIT).unwrap_or(WAITING_PER_WORKER * workers),
            timeout: reader.read(&settings::CONVERSION_TIMEOUT),
            max_file_size,
            max_uploads_size: max_uploads_size.unwrap_or(max_file_size.saturating_mul(UPLOADS_AT_ONCE)),
            read_timeout: reader.read(&settings::READ_TIMEOUT),
            max_connections: reader.read(&settings::MAX_CONNECTIONS),
            shutdown_delay: reader.read(&settings::SHUTDOWN_DELAY),
            shutdown_grace: reader.read(&settings::SHUTDOWN_GRACE),
        }
    }
}

/// Whether only one of them can be listened on. Where `[::]` is, IPv4 is taken as well.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let takes = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // Port 0 is another one each time.
    one.port() == other.port()
        && one.port() != 0
        && (ip == other_ip || takes(ip, other_ip) || takes(other_ip, ip))
}

impl Access {
    fn read(reader: &mut Reader) -> Access {
        let api_keys: Vec<ApiKey> = reader.given(&settings::API_KEYS).unwrap_or_default();
        let usual = if api_keys.is_empty() { CacheScope::Shared } else { CacheScope::Key };
        Access {
            trusted_proxies: reader.given(&settings::TRUSTED_PROXIES).unwrap_or_default(),
            cors_origins: reader.given(&settings::CORS_ORIGINS).unwrap_or_default(),
            api_keys,
            cache_scope: reader.given(&settings::CACHE_SCOPE).unwrap_or(usual),
            rate_limit: RateLimit {
                requests: reader.read(&settings::RATE_LIMIT_REQUESTS),
                window: reader.read(&settings::RATE_LIMIT_WINDOW),
            },
        }
    }
}

impl Log {
    fn read(reader: &mut Reader) -> Log {
        Log {
            filter: reader.read(&settings::LOG_LEVEL),
            format: reader.read(&settings::LOG_FORMAT),
            file: reader.given(&settings::LOG_FILE),
            files: reader.read(&settings::LOG_FILES),
        }
    }
}

impl fmt::Debug for ApiKey {
    /// The digest of a weak key could be guessed from; it stays out of logs like the key.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let mut shown = out.debug_struct("ApiKey");
        shown.field("name", &self.name).field("requests", &self.requests).finish_non_exhaustive()
    }
}
