//! The addresses that a process listens on.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cli::failure::Failure;
use crate::http::{self, Gateway, Server};
use crate::shutdown::Shutdown;

/// How long the last responses of [`ProbeListeners`] may take.
const LAST_RESPONSES: Duration = Duration::from_secs(2);

/// Listeners for probes and metrics, which are served until all other work has ended.
#[derive(Default)]
pub struct ProbeListeners {
    shutdown: Shutdown,
    running: Vec<JoinHandle<()>>,
}

/// Listens on `BIND_ADDRESS`; [`Server::run`] then accepts connections.
///
/// # Errors
/// For example, the address is in use.
pub async fn bind_main(gateway: &Gateway) -> Result<Server, Failure> {
    let (server, address) = bind(gateway.settings.bind, "BIND_ADDRESS", gateway).await?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    Ok(server)
}

impl ProbeListeners {
    /// Serves metrics and probes on `METRICS_ADDRESS`, if it is set.
    ///
    /// # Errors
    /// As [`bind_main`].
    pub async fn start(gateway: &Arc<Gateway>) -> Result<Self, Failure> {
        let mut listeners = Self::default();
        if let Some(address) = gateway.settings.metrics {
            let (server, address) = bind(address, "METRICS_ADDRESS", gateway).await?;
            tracing::info!(%address, "metrics");
            listeners.serve(server, http::metrics_router(Arc::clone(gateway)), gateway);
        }
        Ok(listeners)
    }

    /// Serves these routes on another address.
    pub fn serve(&mut self, server: Server, router: Router, gateway: &Gateway) {
        let (counts, shutdown) = (Arc::clone(&gateway.metrics), self.shutdown.clone());
        self.running.push(tokio::spawn(server.run(router, counts, shutdown)));
    }

    /// Closes all of them, and waits for the last responses.
    pub async fn stop(self) {
        self.shutdown.closed.cancel();
        let mut ended = pin!(join_all(self.running));
        if timeout(LAST_RESPONSES, ended.as_mut()).await.is_err() {
            self.shutdown.dropping_responses.cancel();
            ended.await;
        }
    }
}

/// Listens on the address of this setting; returns the local one, too.
async fn bind(
    address: SocketAddr,
    setting: &str,
    gateway: &Gateway,
) -> Result<(Server, SocketAddr), Failure> {
    let settings = &gateway.settings;
    let bound = Server::bind(address, settings.max_connections, settings.read_timeout).await;
    let server = bound.map_err(Failure::io(format!("listen on {address} ({setting})")))?;
    let local = server.address().map_err(Failure::io("get the local address"))?;
    Ok((server, local))
}
