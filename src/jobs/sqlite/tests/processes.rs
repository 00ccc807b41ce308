//! Several processes with one file.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::{new_file, open, open_at, submit, take};
use crate::jobs::job::GiveBack;
use crate::jobs::queue::{End, Hint, Queue, RETRY_PAUSE};

/// Waits for all of these hints.
async fn expect(hints: &mut Receiver<Hint>, expected: &[Hint]) {
    let mut missing = expected.to_vec();
    let all = async {
        while !missing.is_empty() {
            let received = hints.recv().await.unwrap();
            missing.retain(|hint| *hint != received);
        }
    };
    timeout(Duration::from_secs(10), all).await.expect("a hint is missing");
}

#[tokio::test]
async fn processes_see_each_others_jobs() {
    let (_folder, path) = new_file();
    let (gateway, worker) = (open(&path), open(&path));
    let (mut at_gateway, mut at_worker) = (gateway.hints(), worker.hints());

    let id = submit(&gateway, "a").await.id;
    expect(&mut at_worker, &[Hint::Queued, Hint::Changed(id)]).await;
    let claim = take(&worker).await;
    assert_eq!(claim.job.id, id);
    expect(&mut at_gateway, &[Hint::Changed(id)]).await;
    let running = gateway.job(id).await.unwrap();
    assert_eq!(running.as_ref(), Some(&claim.job));

    gateway.cancel(id).await.unwrap();
    expect(&mut at_worker, &[Hint::Changed(id)]).await;
    assert!(worker.finish(id, claim.token, End::Cancelled).await.unwrap());
    expect(&mut at_gateway, &[Hint::Changed(id), Hint::Delivery]).await;
}

#[tokio::test]
async fn a_process_gets_its_own_hints_once() {
    let (_folder, path) = new_file();
    let queue = open(&path);
    let id = submit(&queue, "a").await.id;
    let mut hints = queue.hints();
    queue.cancel(id).await.unwrap();
    // Long enough to look at the file again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut changes = 0;
    while let Ok(hint) = hints.try_recv() {
        changes += usize::from(hint == Hint::Changed(id));
    }
    assert_eq!(changes, 1);
}

#[tokio::test]
async fn processes_learn_that_a_pause_is_over() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let (_folder, path) = new_file();
    let open = || open_at(&path, "boot", || NOW.load(Ordering::Relaxed));
    let (one, other) = (open(), open());
    let id = submit(&one, "a").await.id;
    let token = take(&one).await.token;
    assert!(one.give_back(id, token, GiveBack::StoreUnavailable).await.unwrap());
    let mut hints = other.hints();
    NOW.store(RETRY_PAUSE.as_millis() as u64, Ordering::Relaxed);
    one.sweep().await.unwrap();
    expect(&mut hints, &[Hint::Queued]).await;
    assert_eq!(take(&other).await.job.id, id);
}

#[tokio::test]
async fn many_processes_may_start_at_once() {
    let (_folder, path) = new_file();
    let starts: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn({
                let path = path.clone();
                move || open(&path)
            })
        })
        .collect();
    let queues: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    for queue in &queues {
        submit(queue, "a").await;
    }
    assert_eq!(queues[0].stats().await.unwrap().jobs[0], 8);
}

fn is_open(path: &Path) -> bool {
    let mut open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.any(|file| fs::read_link(file.path()).is_ok_and(|target| target == path))
}

#[tokio::test]
async fn dropping_the_queue_closes_the_file() {
    let (_folder, path) = new_file();
    let queue = open(&path);
    let path = path.canonicalize().unwrap();
    submit(&queue, "a").await;
    assert!(is_open(&path));
    drop(queue);
    let began = Instant::now();
    while is_open(&path) {
        assert!(began.elapsed() < Duration::from_secs(10), "a thread has not ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
