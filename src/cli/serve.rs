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
            metrics: None,
            workers: given("WORKERS", 2),
            queue_limit: given("QUEUE_LIMIT", 8),
            timeout: Duration::from_secs_f64(given("CONVERSION_TIMEOUT", 600.0)),
            max_file_size: given("MAX_FILE_SIZE", 100 << 20),
            read_timeout: Duration::from_secs_f64(given("READ_TIMEOUT", 30.0)),
            max_connections: given("MAX_CONNECTIONS", 1024),
            shutdown_delay: Duration::from_secs_f64(given("SHUTDOWN_DELAY", 0.0)),
            shutdown_grace: Duration::from_secs_f64(given("SHUTDOWN_GRACE", 60.0)),
        },
        access: Access { trusted_proxies: Vec::new(), cors_origins: Vec::new(), api_keys: Vec::new() },
        log: Log { filter: "info".to_owned(), format: LogFormat::Plain, file: None, files: 7 },
        traces: Traces { endpoint: None },
    };
    gateway::run(&config)
}

fn given<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
