//! Requests that wait for a job, as streams of its events or as long polls. Each holds a connection and does nothing, so
//! that a few clients could hold all connections. Conversions that wait for a job of their own have a place in the queue of
//! conversions instead (`convert/by_job.rs`).

use std::sync::Arc;

use super::shares::{Exceeded, Share, Shares};
use crate::domain::Client;

/// Marks a response, as an extension, whose body waits for something to happen. The server ends it when the client
/// hangs up. As for any request that waits, closing only the write side is enough for that.
#[derive(Debug, Clone, Copy)]
pub struct EndsAtHangUp;

/// A limit of requests that wait, which clients share: half of all connections, and a quarter for a client that is alone.
pub struct Waiting(Arc<Shares>);

impl Waiting {
    /// `max_connections`: those of the server at a time. One request may always wait.
    pub fn new(max_connections: usize) -> Self {
        let most = (max_connections / 2).max(2) as u64;
        Self(Arc::new(Shares::new("waiting requests", most)))
    }

    /// Counts a request of the client until the returned share is dropped.
    ///
    /// # Errors
    /// Whose limit it would exceed.
    pub fn enter(&self, client: Client) -> Result<Share, Exceeded> {
        let mut share = self.0.begin(client);
        share.try_add(1).map(|()| share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_gets_a_quarter_and_all_get_half_of_the_connections() {
        let waiting = Waiting::new(64);
        let enter = |client: u8| waiting.enter(Client::address([192, 0, 2, client].into()));
        let greedy: Vec<_> = (0..16).map(|_| enter(1).unwrap()).collect();
        assert_eq!(enter(1).unwrap_err(), Exceeded::Client);
        let mut others = Vec::new();
        for client in 2..100 {
            others.extend(enter(client));
        }
        assert!((8..=16).contains(&others.len()), "{}", others.len());
        assert_eq!(enter(100).unwrap_err(), Exceeded::All);
        drop(greedy);
        enter(100).unwrap();
    }

    #[test]
    fn a_request_may_wait_however_few_connections_there_are() {
        for connections in 0..4 {
            let waiting = Waiting::new(connections);
            let first = waiting.enter(Client::Local).unwrap();
            assert!(waiting.enter(Client::Local).is_err(), "{connections}");
            drop(first);
            waiting.enter(Client::Local).unwrap();
        }
    }
}
