//! The store's background task. The clock of these tests advances only while all tasks wait for it.

use std::time::Duration;

use meshgate::storage::{Operation, Outcome, Storage, Trouble};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backend::{Backend, noise};
use super::suite::put;

struct Maintained {
    storage: Storage,
    events: mpsc::UnboundedReceiver<(Operation, Outcome)>,
    task: tokio::task::JoinHandle<()>,
}

impl Maintained {
    fn start(storage: Storage) -> Maintained {
        let (sender, events) = mpsc::unbounded_channel();
        // Sending fails once the test has stopped listening.
        storage.observe(Box::new(move |operation, outcome, _| {
            let _ = sender.send((operation, outcome));
        }));
        let maintained = storage.clone();
        Maintained { storage, events, task: tokio::spawn(async move { maintained.maintain().await }) }
    }

    async fn next(&mut self) -> (Operation, Outcome) {
        self.events.recv().await.unwrap()
    }
}

impl Drop for Maintained {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const CHECKED: (Operation, Outcome) = (Operation::Check, Outcome::Done);
const SWEPT: (Operation, Outcome) = (Operation::Sweep, Outcome::Done);

#[tokio::test(start_paused = true)]
async fn the_store_is_swept_at_start_and_periodically() {
    for (ttl, interval) in [
        (Duration::from_hours(24), Duration::from_hours(1)),
        (Duration::from_hours(1), Duration::from_mins(1) * 5 / 2),
        (Duration::from_hours(1000), Duration::from_hours(1)),
        (Duration::from_secs(1), Duration::from_mins(1)),
    ] {
        let backend = Backend::folder();
        let mut maintained = Maintained::start(backend.open_with(|config| config.ttl = ttl));
        assert_eq!((maintained.next().await, maintained.next().await), (CHECKED, SWEPT));
        for _ in 0..3 {
            let before = Instant::now();
            assert_eq!(maintained.next().await, SWEPT);
            let apart = before.elapsed();
            assert!(apart.abs_diff(interval) < Duration::from_secs(1), "{apart:?} for {ttl:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_above_its_limit_is_swept() {
    let backend = Backend::folder();
    let mut maintained = Maintained::start(backend.open_with(|config| config.max_bytes = 10_000));
    assert_eq!((maintained.next().await, maintained.next().await), (CHECKED, SWEPT));
    let before = Instant::now();
    for number in 0..12 {
        put(&maintained.storage, &noise(number, 1000)).await;
        assert_eq!(maintained.next().await, (Operation::PutBlob, Outcome::Done));
    }
    assert_eq!(maintained.next().await, SWEPT);
    assert_eq!(backend.names().await.len(), 9);
    let first = before.elapsed();
    assert!(first < Duration::from_mins(1), "{first:?}");
    // Storing one more result does not start another sweep.
    put(&maintained.storage, &noise(12, 1000)).await;
    assert_eq!(maintained.next().await, (Operation::PutBlob, Outcome::Done));
    let before = Instant::now();
    assert_eq!(maintained.next().await, SWEPT);
    assert!(before.elapsed() > Duration::from_mins(50));
    assert_eq!(backend.names().await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_checked_until_it_works() {
    let backend = Backend::folder();
    let root = backend.path("");
    std::fs::write(root.to_str().unwrap().trim_end_matches('/'), "a file in the way").unwrap();
    let mut maintained = Maintained::start(backend.open());
    assert_eq!(maintained.next().await, (Operation::Check, Outcome::Failed));
    assert_eq!(maintained.storage.trouble().unwrap().trouble, Trouble::Other);
    let before = Instant::now();
    let mut failed = 0;
    while failed < 3 {
        match maintained.next().await {
            (Operation::Check, Outcome::Failed) => failed += 1,
            (Operation::Sweep, _) => {}
            other => panic!("{other:?}"),
        }
    }
    let took = before.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_mins(2), "{took:?}");
    std::fs::remove_file(root.to_str().unwrap().trim_end_matches('/')).unwrap();
    while maintained.next().await != CHECKED {}
    assert_eq!(maintained.storage.trouble(), None);
    // A working store is not checked again.
    assert_eq!(maintained.next().await, SWEPT);
}
