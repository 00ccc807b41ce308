//! The types of values that settings have besides those of the standard library.

use std::fmt;

/// The environment that the defaults suit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    #[default]
    Development,
    Production,
}

/// The clients that share cached results and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Each API key has its own.
    Key,
    /// All clients have the same.
    Shared,
}

/// A client's key. Only its digest is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The name in logs and metrics.
    pub name: String,
    /// BLAKE3 of the key; compare it in constant time.
    pub digest: [u8; 32],
    /// The key's own limit in the window of [`super::RateLimit`], if it has one; 0: no limit.
    pub requests: Option<u32>,
}

impl fmt::Debug for ApiKey {
    /// Omits the digest: a weak key could be guessed from it.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let mut shown = out.debug_struct("ApiKey");
        shown.field("name", &self.name).field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// Which jobs run as Kubernetes Jobs, unless their request says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KubernetesMode {
    #[default]
    Off,
    /// Those with large models, and those that ran out of memory in a worker.
    Auto,
    /// All that need Blender.
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Plain,
    Json,
}
