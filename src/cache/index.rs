//! The index, which this process or Redis may keep.

use futures_util::future::BoxFuture;

use super::entry::Entry;
use super::lease::Lease;
use crate::storage::Hash;

/// The outcomes of conversions, by their identities.
pub trait Index: Send + Sync {
    fn get(&self, identity: Hash) -> BoxFuture<'_, Option<Entry>>;

    /// Replaces the entry.
    fn put(&self, identity: Hash, entry: Entry) -> BoxFuture<'_, ()>;

    fn remove(&self, identity: Hash) -> BoxFuture<'_, ()>;

    /// Claims the conversion for this process; `None` if another process has claimed it. A process that cannot know
    /// gets the lease.
    fn claim(&self, identity: Hash) -> BoxFuture<'_, Option<Lease>>;

    /// Bytes of the indexed results; `None` if other processes share the index.
    fn bytes(&self) -> Option<u64>;

    /// Maintains the index; never returns.
    fn maintain(&self) -> BoxFuture<'_, ()>;
}
