//! `meshgate serve`: the HTTP gateway.

use std::process::ExitCode;
use std::time::Duration;

use super::engine_args::EngineArgs;
use super::{Failure, gateway};
use crate::config::{Access, ApiKey, Config, Environment, Log, LogFormat, Server, Traces};

/// Serve conversions over HTTP.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    engine: EngineArgs,
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1:5000")]
    bind: std::net::SocketAddr,
}

/// # Errors
/// What keeps the gateway from serving.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let config = Config {
        environment: Environment::Development,
        engine: args.engine.check()?,
        server: Server {
            bind: args.bind,
            metrics: None,
            workers: 2,
            queue_limit: 8,
            timeout: Duration::from_mins(10),
            max_file_size: 100 << 20,
            read_timeout: Duration::from_secs(30),
            max_connections: 1024,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_mins(1),
        },
        access: access(),
        log: Log { filter: "info".to_owned(), format: LogFormat::Plain, file: None, files: 7 },
        traces: Traces { endpoint: None },
    };
    gateway::run(&config)
}

/// Stands in for the real reading of the settings.
fn access() -> Access {
    let list = |name: &str| {
        let text = std::env::var(name).unwrap_or_default();
        text.split(',')
            .map(|entry| entry.trim().to_owned())
            .filter(|entry| !entry.is_empty())
            .collect::<Vec<_>>()
    };
    let key = |entry: &String| {
        let (name, key) = entry.split_once(':')?;
        Some(ApiKey { name: name.to_owned(), digest: *blake3::hash(key.as_bytes()).as_bytes() })
    };
    Access {
        trusted_proxies: list("TRUSTED_PROXIES").iter().filter_map(|net| net.parse().ok()).collect(),
        cors_origins: list("CORS_ORIGINS"),
        api_keys: list("API_KEYS").iter().filter_map(key).collect(),
    }
}
