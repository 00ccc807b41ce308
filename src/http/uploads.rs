//! The bytes of all bodies that have not come to their end, in this process: on the disk and in memory together.
//!
//! One client may hold as many of them as it leaves free for all others, so that it alone holds half at most and
//! another one can still send its model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::problem::Problem;
use crate::domain::Client;
use crate::domain::ErrorCode;

/// When a client that was refused may try again: by then small uploads have come to their end.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// All unfinished uploads.
#[derive(Debug)]
pub struct Uploads {
    most: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: u64,
    by_client: HashMap<Client, u64>,
}

/// One upload; its bytes count until it is dropped.
#[derive(Debug)]
pub struct Upload {
    uploads: Arc<Uploads>,
    who: Client,
    bytes: u64,
}

impl Uploads {
    /// `most` is in bytes.
    pub fn new(most: u64) -> Self {
        Self { most, held: Mutex::default() }
    }

    /// In bytes.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// A client begins to send a body.
    pub fn begin(self: &Arc<Self>, who: Client) -> Upload {
        Upload { uploads: Arc::clone(self), who, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// More of the body has come.
    ///
    /// # Errors
    /// `overloaded`
    pub fn add(&mut self, bytes: u64) -> Result<(), Problem> {
        let mut held = self.uploads.held();
        let of_client = held.by_client.get(&self.who).copied().unwrap_or_default().saturating_add(bytes);
        let all = held.all.saturating_add(bytes);
        if of_client > self.uploads.most.saturating_sub(all) {
            let whose = if of_client > all / 2 { "this client's" } else { "all clients'" };
            let detail = format!(
                "{whose} unfinished uploads take as much room as they may; send the request again later"
            );
            return Err(Problem {
                retry_after: Some(TRY_AGAIN),
                ..Problem::new(ErrorCode::Overloaded, detail)
            });
        }
        held.all = all;
        held.by_client.insert(self.who.clone(), of_client);
        drop(held);
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
impl Upload {
    /// One beside which there is no other.
    pub fn alone() -> Self {
        Arc::new(Uploads::new(u64::MAX)).begin(Client::address([127, 0, 0, 1].into()))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut held = self.uploads.held();
        held.all -= self.bytes;
        if let Some(of_client) = held.by_client.get_mut(&self.who) {
            *of_client -= self.bytes;
            if *of_client == 0 {
                held.by_client.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::address([192, 0, 2, number].into())
    }

    #[test]
    fn one_client_holds_half_at_most_and_others_still_send() {
        let uploads = Arc::new(Uploads::new(800));
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
    fn nothing_is_left_of_uploads_that_have_ended() {
        let uploads = Arc::new(Uploads::new(100));
        for number in 0..10 {
            let mut upload = uploads.begin(client(number));
            upload.add(50).unwrap();
            assert!(upload.add(u64::MAX).is_err());
        }
        let held = uploads.held();
        assert_eq!((held.all, held.by_client.len()), (0, 0));
    }
}
