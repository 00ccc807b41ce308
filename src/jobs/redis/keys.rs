//! Names of keys that the program makes itself. Scripts make the others.

use blake3::Hasher;
use uuid::Uuid;

use crate::jobs::queue::Key;

/// Prefix of every key. The part in braces would place all of them on one node of a cluster.
pub const PREFIX: &str = "meshgate:{jobs}:";

/// The channel of hints.
pub const HINTS: &str = "meshgate:{jobs}:hints";

pub fn job(id: Uuid) -> String {
    format!("{PREFIX}job:{id}")
}

/// A name for a client's key for idempotency: short, and different for each client, path and key.
pub fn idempotency(key: &Key) -> String {
    let client = key.client.to_string();
    let mut hasher = Hasher::new();
    for part in [client.as_str(), key.path, &key.key] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_string()
}
