//! The configuration: typed and checked before the program starts.
//!
//! `settings` is the table of names, defaults and help; `sources` holds the texts from options, environment and file;
//! `reader` parses them and collects every mistake; `suggestions` finds misspelled names; `reference` writes the help.

#[cfg(test)]
mod file_tests;
mod jobs;
mod kubernetes;
mod kubernetes_names;
mod reader;
mod redis;
pub mod reference;
#[cfg(test)]
mod secret_tests;
pub mod setting;
pub mod settings;
mod sources;
mod storage;
mod suggestions;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod webhooks;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use jobs::Jobs;
pub use kubernetes::Kubernetes;
pub use reader::{Mistakes, Reader};
pub use redis::Redis;
pub use sources::Sources;
pub use storage::{Cache, CloudOptions, Location, Storage};
pub use types::{ApiKey, CacheScope, Environment, KubernetesMode, LogFormat};
pub use values::Secret;
pub use webhooks::{WebhookAllow, WebhookSecret};

use crate::domain::SandboxMode;

/// The configuration of `meshgate serve` and `meshgate worker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub engine: Engine,
    pub storage: Storage,
    /// `None`: no cache; every conversion runs.
    pub cache: Option<Cache>,
    pub jobs: Jobs,
    pub kubernetes: Kubernetes,
    pub webhooks: Webhooks,
    pub server: Server,
    pub access: Access,
    /// The Redis that processes share; `None`: this process shares nothing.
    pub redis: Option<Redis>,
    pub log: Log,
    pub traces: Traces,
}

/// The engine, and the resources of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// The Python with bpy.
    pub python: Option<PathBuf>,
    /// The Blender to use instead of that Python.
    pub blender: Option<PathBuf>,
    /// The folder for running conversions, stored results and jobs.
    pub data_dir: Option<PathBuf>,
    pub sandbox: SandboxMode,
    /// Bytes of address space of one conversion.
    pub memory: u64,
    /// Conversions after which Blender is restarted.
    pub max_requests: u64,
    /// Largest size of an unpacked model, in bytes.
    pub max_unpacked: u64,
}

/// The HTTP server and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub bind: SocketAddr,
    /// The separate address of `/metrics`; `None`: it is served at `bind`.
    pub metrics: Option<SocketAddr>,
    /// Conversions at a time; 0: this process runs none.
    pub workers: usize,
    /// Conversions that may be queued; without workers, requests that may wait for other processes.
    pub queue_limit: usize,
    /// Time limit of one conversion. A request's time in the queue counts; waiting of jobs does not.
    pub timeout: Duration,
    /// Largest request body, in bytes.
    pub max_file_size: u64,
    /// Largest total size of unfinished uploads, in bytes.
    pub max_uploads_size: u64,
    /// Time limit of the headers, and of a pause in a body.
    pub read_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long new requests are accepted after the signal to stop.
    pub shutdown_delay: Duration,
    /// How long running conversions may then continue.
    pub shutdown_grace: Duration,
}

/// The settings of access: proxies, origins, keys and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Exact origins, or one `*`; empty: no CORS.
    pub cors_origins: Vec<String>,
    /// Empty: no key is required.
    pub api_keys: Vec<ApiKey>,
    /// The clients among which results and reports are shared.
    pub cache_scope: CacheScope,
    /// The limit of each client whose key has none of its own.
    pub rate_limit: RateLimit,
}

/// The number of conversions that a client may request in a window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// 0: no limit.
    pub requests: u32,
    /// Whole seconds, at least one.
    pub window: Duration,
}

/// The settings of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Webhooks {
    /// All of them sign, the current one first; empty: no webhooks.
    pub secrets: Vec<WebhookSecret>,
    pub allow: WebhookAllow,
}

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A valid filter of `tracing`.
    pub filter: String,
    pub format: LogFormat,
    /// A file to write in addition to standard output; a new one each day.
    pub file: Option<PathBuf>,
    /// The number of such files to keep.
    pub files: usize,
}

/// The settings of traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The URL of an OTLP receiver (gRPC); `None`: no traces.
    pub endpoint: Option<String>,
}

/// Default of `QUEUE_LIMIT`, for each worker.
const QUEUED_PER_WORKER: usize = 4;

/// Default of `MAX_UPLOADS_SIZE`, as a multiple of `MAX_FILE_SIZE`.
const UPLOADS_AT_ONCE: u64 = 32;

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// All mistakes, not only the first.
    pub fn load(sources: &Sources) -> Result<Config, Mistakes> {
        let mut reader = Reader::new(sources);
        let config = Config::read(&mut reader);
        reader.finish(config)
    }

    /// Reads all settings. The reader collects the mistakes; a wrong value is replaced by its default.
    pub fn read(reader: &mut Reader) -> Config {
        let config = Config {
            engine: Engine::read(reader),
            storage: Storage::read(reader),
            cache: Cache::read(reader),
            jobs: Jobs::read(reader),
            kubernetes: Kubernetes::read(reader),
            webhooks: Webhooks::read(reader),
            server: Server::read(reader),
            access: Access::read(reader),
            redis: Redis::read(reader),
            log: Log::read(reader),
            traces: Traces { endpoint: reader.given(&settings::OTEL_EXPORTER_OTLP_ENDPOINT) },
        };
        let Config { kubernetes, storage, jobs, server, .. } = &config;
        for conflict in kubernetes.conflicts(storage, jobs, server.timeout) {
            reader.mistake(conflict);
        }
        config
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
                "METRICS_ADDRESS has the port of BIND_ADDRESS: set another port, or unset it to serve both there",
            );
        }
        let workers = reader.read(&settings::WORKERS);
        let max_file_size = reader.read(&settings::MAX_FILE_SIZE);
        let max_uploads_size = reader.given(&settings::MAX_UPLOADS_SIZE);
        // A single client may use half of it.
        if max_uploads_size.is_some_and(|all| all / 2 < max_file_size) {
            reader.mistake("MAX_UPLOADS_SIZE must be at least 2 × MAX_FILE_SIZE");
        }
        let queue_limit = reader.given(&settings::QUEUE_LIMIT);
        let timeout = reader.read(&settings::CONVERSION_TIMEOUT);
        let read_timeout = reader.read(&settings::READ_TIMEOUT);
        let max_connections: usize = reader.read(&settings::MAX_CONNECTIONS);
        let usual_queue = match workers {
            // Each holds a connection, and some are left for other requests.
            0 => (max_connections / 2).max(1),
            workers => QUEUED_PER_WORKER * workers,
        };
        Server {
            bind,
            metrics,
            workers,
            queue_limit: queue_limit.unwrap_or(usual_queue),
            timeout,
            max_file_size,
            max_uploads_size: max_uploads_size.unwrap_or(max_file_size.saturating_mul(UPLOADS_AT_ONCE)),
            read_timeout,
            max_connections,
            shutdown_delay: reader.read(&settings::SHUTDOWN_DELAY),
            shutdown_grace: reader.read(&settings::SHUTDOWN_GRACE),
        }
    }
}

/// Whether the two addresses cannot both be bound. `[::]` also covers IPv4.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // Port 0 is a different free port each time.
    one.port() == other.port()
        && one.port() != 0
        && (ip == other_ip || covers(ip, other_ip) || covers(other_ip, ip))
}

impl Access {
    fn read(reader: &mut Reader) -> Access {
        let api_keys: Vec<ApiKey> = reader.given(&settings::API_KEYS).unwrap_or_default();
        let default = if api_keys.is_empty() { CacheScope::Shared } else { CacheScope::Key };
        Access {
            trusted_proxies: reader.given(&settings::TRUSTED_PROXIES).unwrap_or_default(),
            cors_origins: reader.given(&settings::CORS_ORIGINS).unwrap_or_default(),
            api_keys,
            cache_scope: reader.given(&settings::CACHE_SCOPE).unwrap_or(default),
            rate_limit: RateLimit {
                requests: reader.read(&settings::RATE_LIMIT_REQUESTS),
                window: reader.read(&settings::RATE_LIMIT_WINDOW),
            },
        }
    }
}

impl Webhooks {
    fn read(reader: &mut Reader) -> Webhooks {
        Webhooks {
            secrets: reader.given(&settings::WEBHOOK_SECRET).unwrap_or_default(),
            allow: reader.given(&settings::WEBHOOK_ALLOW).unwrap_or_default(),
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
