use std::collections::VecDeque;
use std::future::ready;
use std::sync::Mutex;

use super::*;
use crate::domain::{Client, Stage};
use crate::jobs::hints;
use crate::jobs::job::{DeliveryAttempt, Job, State};
use crate::jobs::queue::{
    Delivery, Key, LEASE, NewJob, NextAttempt, Page, Pending, QueueError, Removed, Reservation, Stats,
    Submission, Swept, TakeOrder,
};

/// A queue that gives these answers about one lease. Renewals beyond them succeed.
struct Scripted {
    renewals: Mutex<VecDeque<Result<Hold, QueueError>>>,
    ends: Mutex<VecDeque<Result<bool, QueueError>>>,
    /// The progress that was recorded.
    progress: Mutex<Vec<Progress>>,
    hints: broadcast::Sender<Hint>,
}

impl Scripted {
    fn new(
        renewals: impl IntoIterator<Item = Result<Hold, QueueError>>,
        ends: impl IntoIterator<Item = Result<bool, QueueError>>,
    ) -> Self {
        Self {
            renewals: Mutex::new(renewals.into_iter().collect()),
            ends: Mutex::new(ends.into_iter().collect()),
            progress: Mutex::default(),
            hints: hints::channel(),
        }
    }

    fn lease(&self) -> Lease<'_> {
        Lease { queue: self, id: Uuid::nil(), token: 1, hints: self.hints() }
    }

    fn next_end(&self) -> Pending<'_, bool> {
        Box::pin(ready(self.ends.lock().unwrap().pop_front().expect("it was told too often")))
    }
}

impl Queue for Scripted {
    fn renew(&self, _: Uuid, _: u64, progress: Option<Progress>) -> Pending<'_, Hold> {
        self.progress.lock().unwrap().extend(progress);
        Box::pin(ready(self.renewals.lock().unwrap().pop_front().unwrap_or(Ok(Hold::Held))))
    }

    fn finish(&self, _: Uuid, _: u64, _: End) -> Pending<'_, bool> {
        self.next_end()
    }

    fn give_back(&self, _: Uuid, _: u64, _: GiveBack) -> Pending<'_, bool> {
        self.next_end()
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    fn name(&self) -> &str {
        unimplemented!()
    }

    fn reserve<'a>(&'a self, _: &'a Key, _: Uuid) -> Pending<'a, Reservation> {
        unimplemented!()
    }

    fn release<'a>(&'a self, _: &'a Key, _: Uuid) -> Pending<'a, ()> {
        unimplemented!()
    }

    fn submit(&self, _: NewJob) -> Pending<'_, Submission> {
        unimplemented!()
    }

    fn job(&self, _: Uuid) -> Pending<'_, Option<Job>> {
        unimplemented!()
    }

    fn position(&self, _: Uuid) -> Pending<'_, Option<u64>> {
        unimplemented!()
    }

    fn list<'a>(&'a self, _: &'a Client, _: Option<State>, _: Option<Uuid>, _: usize) -> Pending<'a, Page> {
        unimplemented!()
    }

    fn take_in<'a>(&'a self, _: TakeOrder, _: &'a str) -> Pending<'a, Option<Claim>> {
        unimplemented!()
    }

    fn claim(&self, _: Uuid) -> Pending<'_, Option<Claim>> {
        unimplemented!()
    }

    fn cancel(&self, _: Uuid) -> Pending<'_, Option<Job>> {
        unimplemented!()
    }

    fn remove(&self, _: Uuid) -> Pending<'_, Option<Removed>> {
        unimplemented!()
    }

    fn sweep(&self) -> Pending<'_, Swept> {
        unimplemented!()
    }

    fn extend_leases(&self) -> Pending<'_, u64> {
        unimplemented!()
    }

    fn unknown<'a>(&'a self, _: &'a [Uuid]) -> Pending<'a, Vec<Uuid>> {
        unimplemented!()
    }

    fn stats(&self) -> Pending<'_, Stats> {
        unimplemented!()
    }

    fn take_delivery(&self) -> Pending<'_, Option<Delivery>> {
        unimplemented!()
    }

    fn record_delivery_attempt<'a>(
        &'a self,
        _: &'a Delivery,
        _: DeliveryAttempt,
        _: NextAttempt,
    ) -> Pending<'a, bool> {
        unimplemented!()
    }

    fn postpone_delivery<'a>(&'a self, _: &'a Delivery, _: Duration) -> Pending<'a, bool> {
        unimplemented!()
    }

    fn redeliver(&self, _: Uuid) -> Pending<'_, bool> {
        unimplemented!()
    }
}

fn away<T>() -> Result<T, QueueError> {
    Err(QueueError::Failed("the queue is away".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn only_a_lost_lease_ends_an_attempt() {
    let answers = (0..100).map(|_| away()).chain([Ok(Hold::Held), away(), Ok(Hold::Lost)]);
    let queue = Scripted::new(answers, []);
    let (_progress, reported) = watch::channel(None);
    let began = Instant::now();
    assert_eq!(queue.lease().keep(reported).await, Interrupted::Lost);
    assert!(began.elapsed() > 10 * LEASE && queue.renewals.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hint_renews_the_lease_at_once() {
    let queue = Scripted::new([Ok(Hold::Cancelled)], []);
    let mut lease = queue.lease();
    let (_progress, reported) = watch::channel(None);
    // Before the attempt waits for it.
    queue.hints.send(Hint::Changed(Uuid::nil())).unwrap();
    let began = Instant::now();
    assert_eq!(lease.keep(reported).await, Interrupted::Cancelled);
    assert!(began.elapsed() < RENEW_EVERY);
}

#[tokio::test(start_paused = true)]
async fn progress_is_recorded_once_the_queue_is_back() {
    let queue = Scripted::new([away(), away(), Ok(Hold::Held), Ok(Hold::Held), Ok(Hold::Lost)], []);
    let (progress, reported) = watch::channel(None);
    let importing = Progress { stage: Stage::Importing, fraction: Some(0.5) };
    progress.send_replace(Some(importing));
    // Nobody reports any more.
    drop(progress);
    assert_eq!(queue.lease().keep(reported).await, Interrupted::Lost);
    assert_eq!(*queue.progress.lock().unwrap(), [importing; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_told_until_it_answers() {
    let queue = Scripted::new((0..50).map(|_| away()), (0..50).map(|_| away()).chain([Ok(true)]));
    let (ending, began) = (Ending::GiveBack(GiveBack::Stopping), Instant::now());
    assert_eq!(queue.lease().end(&ending, &CancellationToken::new()).await, Told::Accepted);
    assert!(began.elapsed() > 10 * LEASE && queue.ends.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_error_is_unclear() {
    for (answers, expected) in
        [(vec![Ok(false)], Told::Refused), (vec![away(), away(), Ok(false)], Told::Unclear)]
    {
        let queue = Scripted::new([], answers);
        let ending = Ending::End(End::Cancelled);
        assert_eq!(queue.lease().end(&ending, &CancellationToken::new()).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_long_pause() {
    let queue = Scripted::new([], (0..20).map(|_| away()).chain([Ok(true)]));
    let (ending, stopping) = (Ending::GiveBack(GiveBack::Stopping), CancellationToken::new());
    let (lease, waiting) = (queue.lease(), || queue.ends.lock().unwrap().len());
    let stop = async {
        while waiting() > 1 {
            sleep(Duration::from_millis(1)).await;
        }
        let stopped = Instant::now();
        stopping.cancel();
        stopped
    };
    let (told, stopped) = tokio::join!(lease.end(&ending, &stopping), stop);
    assert_eq!(told, Told::Accepted);
    assert!(stopped.elapsed() < FIRST_PAUSE);
}
