//! Names of keys that the program makes itself. Scripts make the others.

use uuid::Uuid;

use crate::cache::key::Encoder;
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
    let mut hashed = Encoder::default();
    hashed.text(&key.client.to_string());
    hashed.text(key.path);
    hashed.text(&key.key);
    hashed.finish().to_string()
}
