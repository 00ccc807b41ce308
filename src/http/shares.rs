//! Limits that clients share: of disk space, for unfinished uploads and for results being sent, and of requests that wait.
//! One client may use as much as it leaves free.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::problem::Problem;
use crate::domain::{Client, ErrorCode, HeldBytes};
use crate::storage::Hash;

/// `Retry-After` of a refusal: by then, small uploads have ended.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A limit of space that clients share.
#[derive(Debug)]
pub struct Shares {
    /// The name of its contents for errors: "unfinished uploads".
    contents: &'static str,
    /// The limit in bytes.
    pub most: u64,
    held: Mutex<HeldBytes>,
}

/// The space of one upload or result; its bytes count until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    client: Client,
    bytes: u64,
}

impl Shares {
    /// `most` is in bytes.
    pub fn new(contents: &'static str, most: u64) -> Self {
        Self { contents, most, held: Mutex::default() }
    }

    /// Begins an empty share of the client.
    pub fn begin(self: &Arc<Self>, client: Client) -> Share {
        Share { shares: Arc::clone(self), client, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, HeldBytes> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose limit would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Client,
    All,
}

impl Share {
    /// Adds bytes to the share.
    ///
    /// # Errors
    /// `overloaded` if the client or all clients together would exceed their limit.
    pub fn add(&mut self, bytes: u64) -> Result<(), Problem> {
        self.try_add(bytes).map_err(|exceeded| {
            let whose = match exceeded {
                Exceeded::Client => "this client's",
                Exceeded::All => "all clients'",
            };
            let what = self.shares.contents;
            let detail =
                format!("{whose} {what} have reached their size limit; send the request again later");
            Problem::new(ErrorCode::Overloaded, detail).with_retry_after(TRY_AGAIN)
        })
    }

    /// Adds bytes to the share.
    ///
    /// # Errors
    /// Whose limit they would exceed.
    pub fn try_add(&mut self, bytes: u64) -> Result<(), Exceeded> {
        let mut held = self.shares.held();
        let of_client = held.of(&self.client).saturating_add(bytes);
        let all = held.all().saturating_add(bytes);
        if of_client > self.shares.most.saturating_sub(all) {
            return Err(if of_client > all / 2 { Exceeded::Client } else { Exceeded::All });
        }
        held.add(&self.client, bytes);
        drop(held);
        self.bytes += bytes;
        Ok(())
    }
}

/// Values that several responses share: each is dropped with the last of them.
pub type WeakMap<K, V> = Mutex<HashMap<K, Weak<V>>>;

/// Returns the value that responses share under the key, or makes it.
pub fn get_or_make<K: std::hash::Hash + Eq, V>(
    map: &WeakMap<K, V>,
    key: K,
    make: impl FnOnce() -> Result<V, Problem>,
) -> Result<Arc<V>, Problem> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = map.get(&key).and_then(Weak::upgrade) {
        return Ok(value);
    }
    let value = Arc::new(make()?);
    map.retain(|_, value| value.strong_count() > 0);
    map.insert(key, Arc::downgrade(&value));
    Ok(value)
}

/// The shares of results being sent: one for each result, however many clients receive it.
#[derive(Debug)]
pub struct ResultShares {
    shares: Arc<Shares>,
    held: WeakMap<Hash, Share>,
}

impl ResultShares {
    /// `most` is in bytes.
    pub fn new(most: u64) -> Self {
        Self { shares: Arc::new(Shares::new("results being sent", most)), held: Mutex::default() }
    }

    /// Counts a result of this many bytes until the last returned share is dropped.
    ///
    /// # Errors
    /// `overloaded` if the client or all clients together would exceed their limit.
    pub fn hold(&self, client: Client, hash: Hash, bytes: u64) -> Result<Arc<Share>, Problem> {
        get_or_make(&self.held, hash, || {
            let mut share = self.shares.begin(client);
            share.add(bytes).map(|()| share)
        })
    }

    /// Counts a copy of a result that was made for one response, until the returned share is dropped.
    ///
    /// # Errors
    /// `overloaded` as for [`hold`](Self::hold).
    pub fn hold_copy(&self, client: Client, bytes: u64) -> Result<Share, Problem> {
        let mut share = self.shares.begin(client);
        share.add(bytes).map(|()| share)
    }
}

#[cfg(test)]
impl Share {
    /// A share without a limit, for tests.
    pub fn alone() -> Self {
        Arc::new(Shares::new("uploads", u64::MAX)).begin(Client::address([127, 0, 0, 1].into()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.held().subtract(&self.client, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::address([192, 0, 2, number].into())
    }

    #[test]
    fn one_client_gets_at_most_half_of_the_budget() {
        let uploads = Arc::new(Shares::new("unfinished uploads", 800));
        let mut greedy: Vec<_> = (0..5).map(|_| uploads.begin(client(1))).collect();
        for upload in &mut greedy[..4] {
            upload.add(60).unwrap();
            upload.add(40).unwrap();
        }
        let problem = greedy[4].add(1).unwrap_err();
        assert_eq!((problem.error.code, problem.retry_after), (ErrorCode::Overloaded, Some(TRY_AGAIN)));
        assert!(problem.error.detail.starts_with("this client's unfinished uploads"));
        let mut other = uploads.begin(client(2));
        other.add(200).unwrap();
        assert!(other.add(1).unwrap_err().error.detail.starts_with("all clients' unfinished uploads"));
        let mut third = uploads.begin(client(3));
        third.add(100).unwrap();
        drop(greedy.remove(0));
        third.add(50).unwrap();
    }

    #[test]
    fn ended_uploads_release_their_share() {
        let uploads = Arc::new(Shares::new("unfinished uploads", 100));
        for number in 0..10 {
            let mut upload = uploads.begin(client(number));
            upload.add(50).unwrap();
            assert!(upload.add(u64::MAX).is_err());
        }
        assert!(uploads.held().is_empty());
    }

    #[test]
    fn a_shared_result_counts_once_until_sent() {
        let results = ResultShares::new(100);
        let hash = |number: u8| Hash::from_bytes([number; 32]);
        let first = results.hold(client(1), hash(1), 50).unwrap();
        let second = results.hold(client(2), hash(1), 50).unwrap();
        assert_eq!(results.hold(client(1), hash(2), 10).unwrap_err().error.code, ErrorCode::Overloaded);
        drop(first);
        assert!(results.hold(client(1), hash(2), 10).is_err());
        drop(second);
        results.hold(client(1), hash(2), 10).unwrap();
    }

    #[test]
    fn each_copy_of_a_result_counts() {
        let results = ResultShares::new(100);
        let mut copies: Vec<_> = (0..5).map(|_| results.hold_copy(client(1), 10).unwrap()).collect();
        let problem = results.hold_copy(client(1), 10).unwrap_err();
        assert_eq!(problem.error.code, ErrorCode::Overloaded);
        assert!(results.hold(client(1), Hash::from_bytes([1; 32]), 10).is_err());
        copies.pop();
        results.hold_copy(client(1), 10).unwrap();
    }
}
