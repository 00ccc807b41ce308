//! Runs equal conversions of this process once, for all that wait.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::storage::Hash;

/// A running conversion, to be awaited; `None` if it panicked. Dropping the last clone cancels it.
pub type Flight<T> = Shared<BoxFuture<'static, Option<T>>>;

/// Running conversions, by identity.
pub struct Flights<T: Clone>(Mutex<HashMap<Hash, WeakShared<BoxFuture<'static, Option<T>>>>>);

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Joins the running conversion of this identity, or starts `work`; returns whether it was started.
    pub fn join<W>(&self, identity: Hash, work: impl FnOnce() -> W) -> (Flight<T>, bool)
    where
        W: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&identity).and_then(WeakShared::upgrade) {
            return (flight, false);
        }
        // A separate task, so that a slow waiter does not stop it.
        let task = AbortOnDropHandle::new(tokio::spawn(work().in_current_span()));
        let ended = async move {
            let ended = task.await;
            ended.inspect_err(|error| tracing::error!(%error, "a conversion's task failed")).ok()
        };
        let flight = ended.boxed().shared();
        if flights.len() == flights.capacity() {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        if let Some(flight) = flight.downgrade() {
            flights.insert(identity, flight);
        }
        (flight, true)
    }

    /// Returns the running conversion of this identity, if any. Holding it keeps it findable.
    pub fn find(&self, identity: Hash) -> Option<Flight<T>> {
        self.lock().get(&identity).and_then(WeakShared::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, WeakShared<BoxFuture<'static, Option<T>>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// Notifies when it is dropped.
    struct Guard(Arc<Notify>);

    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }

    fn identity() -> Hash {
        blake3::hash(b"x")
    }

    #[tokio::test]
    async fn equal_requests_run_once() {
        let flights = Flights::default();
        let began = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..20)
            .map(|_| {
                let began = Arc::clone(&began);
                flights.join(identity(), || async move { began.fetch_add(1, Ordering::Relaxed) })
            })
            .collect();
        assert_eq!(all.iter().filter(|(_, is_leader)| *is_leader).count(), 1);
        for (flight, _) in all {
            assert_eq!(flight.await, Some(0));
        }
        // Nobody waits any more: the next request starts anew.
        assert!(flights.find(identity()).is_none());
        assert_eq!(flights.join(identity(), || async { 7 }).0.await, Some(7));
    }

    #[tokio::test]
    async fn a_flight_runs_until_its_last_waiter_leaves() {
        let flights = Flights::default();
        let (go, over) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let begin = |go: &Arc<Notify>, over: &Arc<Notify>| {
            let (go, guard) = (Arc::clone(go), Guard(Arc::clone(over)));
            flights.join(identity(), || async move {
                let _guard = guard;
                go.notified().await;
                5
            })
        };
        let (first, is_leader) = begin(&go, &over);
        assert!(is_leader);
        let (second, is_leader) = flights.join(identity(), || async { 6 });
        assert!(!is_leader);
        drop(first);
        go.notify_one();
        assert_eq!(second.await, Some(5));
        over.notified().await;

        let (first, _) = begin(&go, &over);
        let second = flights.find(identity()).unwrap();
        drop(first);
        drop(second);
        over.notified().await;
    }

    #[tokio::test]
    async fn a_panic_reaches_all_waiters_and_ends_the_flight() {
        let flights: Flights<u8> = Flights::default();
        let panics = || async { std::panic::resume_unwind(Box::new(())) };
        let ((first, _), (second, is_leader)) =
            (flights.join(identity(), panics), flights.join(identity(), panics));
        assert!(!is_leader);
        assert_eq!((first.await, second.await), (None, None));
        assert_eq!(flights.join(identity(), || async { 1 }).0.await, Some(1));
    }

    #[tokio::test]
    async fn finished_flights_take_no_memory() {
        let flights = Flights::default();
        for number in 0..10_000_u32 {
            flights.join(blake3::hash(&number.to_le_bytes()), || async {}).0.await;
        }
        assert!(flights.lock().len() < 100);
    }
}
