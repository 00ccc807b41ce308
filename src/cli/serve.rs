//! `meshgate serve`: the HTTP gateway.

use std::process::ExitCode;
use std::time::Duration;

use super::engine_args::EngineArgs;
use super::{Failure, gateway};
use crate::config::{Access, Config, Environment, Log, LogFormat, Server, Traces};

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
            metrics: var("METRICS_ADDRESS").and_then(|address| address.parse().ok()),
            workers: 2,
            queue_limit: 8,
            timeout: Duration::from_mins(10),
            max_file_size: 100 << 20,
            read_timeout: Duration::from_secs(30),
            max_connections: 1024,
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_mins(1),
        },
        access: Access { trusted_proxies: Vec::new(), cors_origins: Vec::new(), api_keys: Vec::new() },
        log: Log {
            filter: var("LOG_LEVEL").unwrap_or_else(|| "info".to_owned()),
            format: if var("LOG_FORMAT").as_deref() == Some("json") {
                LogFormat::Json
            } else {
                LogFormat::Plain
            },
            file: var("LOG_FILE").map(Into::into),
            files: 7,
        },
        traces: Traces { endpoint: var("OTEL_EXPORTER_OTLP_ENDPOINT") },
    };
    gateway::run(&config)
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
