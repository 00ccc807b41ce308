//! Synchronous requests to a gateway that never runs the engine: workers convert, and the client sees no difference.

mod answers;
mod ends;
mod limits;

use reqwest::{Body, RequestBuilder};
use tokio::task::JoinHandle;

use super::durability::Cluster;
use crate::gateway::{Gateway, until};

/// A conversion that is being asked for.
type Asked = JoinHandle<reqwest::Result<reqwest::Response>>;

impl Gateway {
    /// A request that waits for its result.
    fn synchronous(&self, query: &str, model: impl Into<Body>) -> RequestBuilder {
        self.client.post(self.url(&format!("/convert?{query}"))).body(model)
    }

    /// Sends such a request, whose client hangs up when it is aborted.
    fn ask(&self, query: &str, model: impl Into<Body>) -> Asked {
        tokio::spawn(self.synchronous(query, model).send())
    }
}

/// Waits until nothing of any job or conversion is left.
fn until_nothing_is_left(cluster: &Cluster) {
    until("nothing is left", || cluster.leftovers().is_empty());
}
