//! Limits the conversions that run or wait for the engine.
//!
//! Clients share the places. If all are taken, a client takes over a waiting place of another client that has at least
//! two places more. So no client keeps others out of the queue, and a client that is alone may fill it. The engine's
//! slots decide which conversion runs next. Jobs wait in a queue of their own, whose worker takes few at a time; here they
//! only count for the expected wait.
//!
//! Where conversions run in other processes, requests have places while they wait for their jobs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::{Client, ConversionError, ErrorCode};

/// Weight of the latest conversion in the average duration.
const WEIGHT: f64 = 0.2;

#[derive(Debug)]
pub struct Admission {
    workers: usize,
    capacity: usize,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The number of the next place.
    next: u64,
    /// Requests.
    inside: usize,
    jobs: usize,
    /// The places of requests, by client, the oldest first.
    clients: HashMap<Client, BTreeMap<u64, Entry>>,
    /// Average duration of the latest conversions, waiting excluded.
    average: Option<Duration>,
}

/// A place that a request has.
#[derive(Debug)]
struct Entry {
    works: bool,
    taken_over: CancellationToken,
}

/// The right to wait and work, until it is dropped.
#[derive(Debug)]
pub struct QueuePlace {
    queue: Arc<Mutex<Queue>>,
    /// The client and the number of the place; `None` for a job, whose place nobody takes over.
    request: Option<(Client, u64)>,
    began: OnceLock<Instant>,
    taken_over: CancellationToken,
}

impl Admission {
    /// `workers` may run, and at most `waiting` may wait. Without workers, `waiting` includes what other processes run.
    pub fn new(workers: usize, waiting: usize) -> Self {
        Self { workers, capacity: workers.saturating_add(waiting), queue: Arc::default() }
    }

    /// Admits everything, for a caller that sets its own limit.
    pub fn unbounded(workers: usize) -> Self {
        Self::new(workers, usize::MAX)
    }

    /// Takes a place for this client, if necessary from another client.
    ///
    /// # Errors
    /// `queue_full`.
    pub fn enter(&self, client: &Client) -> Result<QueuePlace, ConversionError> {
        let mut queue = lock(&self.queue);
        if queue.inside == self.capacity {
            let (other, number) = queue.place_to_take_over(client).ok_or_else(|| self.refusal())?;
            queue.free(&other, number);
        }
        queue.inside += 1;
        let number = queue.next;
        queue.next += 1;
        let taken_over = CancellationToken::new();
        let entry = Entry { works: false, taken_over: taken_over.clone() };
        queue.clients.entry(client.clone()).or_default().insert(number, entry);
        let request = Some((client.clone(), number));
        Ok(QueuePlace { queue: Arc::clone(&self.queue), request, began: OnceLock::new(), taken_over })
    }

    /// Takes a place for a job.
    pub fn enter_job(&self) -> QueuePlace {
        lock(&self.queue).jobs += 1;
        let (queue, taken_over) = (Arc::clone(&self.queue), CancellationToken::new());
        QueuePlace { queue, request: None, began: OnceLock::new(), taken_over }
    }

    /// Whether all places are taken at this moment.
    pub fn is_full(&self) -> bool {
        self.inside() == self.capacity
    }

    /// Whether this client would get a place at this moment.
    pub fn has_room_for(&self, client: &Client) -> bool {
        let queue = lock(&self.queue);
        queue.inside < self.capacity || queue.place_to_take_over(client).is_some()
    }

    /// How many requests run or wait at this moment.
    pub fn inside(&self) -> usize {
        lock(&self.queue).inside
    }

    /// How many may run at a time.
    pub fn workers(&self) -> usize {
        self.workers
    }

    pub fn refusal(&self) -> ConversionError {
        let waiting = self.capacity.saturating_sub(self.workers);
        let detail = match self.workers {
            0 => format!("queue full: {waiting} running or waiting"),
            workers => format!("queue full: {workers} running, {waiting} waiting"),
        };
        ConversionError::new(ErrorCode::QueueFull, detail)
    }

    /// Returns the expected time until all conversions inside have ended, between a second and an hour. Without workers,
    /// nobody knows how many run at a time, so it is the time until one has ended.
    pub fn retry_after(&self) -> Duration {
        let queue = lock(&self.queue);
        let average = queue.average.unwrap_or_default().as_secs_f64();
        let rounds = match self.workers {
            0 => 1.0,
            workers => (queue.inside + queue.jobs) as f64 / workers as f64,
        };
        let seconds = average * rounds;
        Duration::from_secs_f64(seconds.clamp(1.0, 3600.0))
    }
}

impl Queue {
    /// The newest waiting place of the client that has most places, if these are at least two more than `client` has.
    fn place_to_take_over(&self, client: &Client) -> Option<(Client, u64)> {
        let own = self.clients.get(client).map_or(0, BTreeMap::len);
        let waiting = self.clients.iter().filter_map(|(other, places)| {
            let newest = places.iter().rfind(|(_, taken)| !taken.works)?.0;
            Some((places.len(), *newest, other))
        });
        let (places, number, other) = waiting.max_by_key(|(places, newest, _)| (*places, *newest))?;
        (places >= own + 2).then(|| (other.clone(), number))
    }

    /// Frees a place, unless it is free already, and tells the conversion that had it.
    fn free(&mut self, client: &Client, number: u64) {
        let Some(places) = self.clients.get_mut(client) else { return };
        let Some(taken) = places.remove(&number) else { return };
        taken.taken_over.cancel();
        if places.is_empty() {
            self.clients.remove(client);
        }
        self.inside -= 1;
    }

    fn record_duration(&mut self, took: Duration) {
        self.average =
            Some(self.average.map_or(took, |average| average.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT)));
    }
}

impl QueuePlace {
    /// Marks the work as begun; from now on no other client takes the place over.
    pub fn work(&self) {
        self.began.get_or_init(|| {
            if let Some((client, number)) = &self.request
                && let Some(taken) =
                    lock(&self.queue).clients.get_mut(client).and_then(|places| places.get_mut(number))
            {
                taken.works = true;
            }
            Instant::now()
        });
    }

    /// Waits until another client takes the place over, and returns the error.
    pub async fn taken_over(&self) -> ConversionError {
        self.taken_over.cancelled().await;
        let detail = "queue full: this place went to a client with fewer conversions; retry later";
        ConversionError::new(ErrorCode::QueueFull, detail)
    }

    /// Ends the work; if it had begun, its duration counts for the average.
    pub fn leave(self) {
        if let Some(took) = self.began.get().map(Instant::elapsed) {
            lock(&self.queue).record_duration(took);
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        match &self.request {
            Some((client, number)) => queue.free(client, *number),
            None => queue.jobs -= 1,
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // Nothing in here can panic half-way.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn client(name: &str) -> Client {
        Client::Key(name.into())
    }

    fn enter(admission: &Admission, name: &str) -> Result<QueuePlace, ConversionError> {
        let client = client(name);
        let room = admission.has_room_for(&client);
        let place = admission.enter(&client);
        assert_eq!(room, place.is_ok());
        place
    }

    fn is_taken_over(place: &QueuePlace) -> bool {
        place.taken_over().now_or_never().is_some_and(|error| error.code == ErrorCode::QueueFull)
    }

    #[test]
    fn the_queue_limit_is_exact() {
        let admission = Admission::new(2, 1);
        let mut inside: Vec<QueuePlace> = (0..3).map(|_| enter(&admission, "a").unwrap()).collect();
        assert!(admission.is_full());
        assert_eq!(enter(&admission, "a").unwrap_err().code, ErrorCode::QueueFull);
        inside.pop();
        assert!(!admission.is_full());
        inside.push(enter(&admission, "a").unwrap());
        assert!(enter(&admission, "a").is_err());
    }

    #[test]
    fn jobs_take_no_place_from_requests() {
        let admission = Admission::new(1, 1);
        let jobs: Vec<QueuePlace> = (0..3).map(|_| admission.enter_job()).collect();
        jobs[0].work();
        assert!(!admission.is_full() && admission.inside() == 0);
        let requests: Vec<QueuePlace> = (0..2).map(|_| enter(&admission, "a").unwrap()).collect();
        // Only the newest waiting request can make room.
        assert!(enter(&admission, "b").is_ok());
        assert!(is_taken_over(&requests[1]) && !jobs.iter().any(is_taken_over));
        drop((jobs, requests));
        let queue = lock(&admission.queue);
        assert!(queue.clients.is_empty() && (queue.inside, queue.jobs) == (0, 0));
    }

    #[test]
    fn a_full_queue_makes_room_for_new_clients() {
        let admission = Admission::new(1, 3);
        let a: Vec<QueuePlace> = (0..4).map(|_| enter(&admission, "a").unwrap()).collect();
        a[0].work();
        let b = enter(&admission, "b").unwrap();
        // The newest place of `a` was taken over; now `a` has one more than `b`.
        assert_eq!(a.iter().map(is_taken_over).collect::<Vec<_>>(), [false, false, false, true]);
        let more = enter(&admission, "b").unwrap();
        assert!(is_taken_over(&a[2]) && !is_taken_over(&a[1]));
        for name in ["a", "b"] {
            assert!(enter(&admission, name).is_err(), "{name}");
        }
        let c = enter(&admission, "c").unwrap();
        assert!(is_taken_over(&more) && !is_taken_over(&b) && !is_taken_over(&c));
        // Each has one waiting or less.
        assert!(enter(&admission, "d").is_ok_and(|_| is_taken_over(&a[1])));
        drop((a, b, c, more));
        assert_eq!(admission.inside(), 0);
        assert!(lock(&admission.queue).clients.is_empty());
    }

    #[test]
    fn a_running_conversion_is_not_displaced() {
        let admission = Admission::new(2, 0);
        let a: Vec<QueuePlace> = (0..2).map(|_| enter(&admission, "a").unwrap()).collect();
        a.iter().for_each(QueuePlace::work);
        assert!(enter(&admission, "b").is_err());
        assert!(!a.iter().any(is_taken_over));
    }

    #[test]
    fn without_workers_nothing_is_full() {
        let admission = Admission::unbounded(0);
        assert_eq!(admission.workers(), 0);
        let _place = enter(&admission, "a").unwrap();
        assert!(!admission.is_full());
        assert_eq!(admission.retry_after(), Duration::from_secs(1));
    }

    #[test]
    fn without_workers_the_limit_counts_what_other_processes_run() {
        let admission = Admission::new(0, 2);
        let inside: Vec<QueuePlace> = (0..2).map(|_| enter(&admission, "a").unwrap()).collect();
        inside[0].work();
        let refusal = enter(&admission, "a").unwrap_err();
        assert_eq!(refusal.detail, "queue full: 2 running or waiting");
        lock(&admission.queue).record_duration(Duration::from_secs(10));
        assert_eq!(admission.retry_after(), Duration::from_secs(10));
        // A client with two fewer takes over the one that waits.
        assert!(enter(&admission, "b").is_ok() && is_taken_over(&inside[1]) && !is_taken_over(&inside[0]));
    }

    #[test]
    fn retry_after_follows_the_average_duration() {
        let admission = Admission::new(2, 4);
        assert_eq!(admission.retry_after(), Duration::from_secs(1));
        lock(&admission.queue).record_duration(Duration::from_secs(10));
        let _inside: Vec<QueuePlace> = (0..6).map(|_| enter(&admission, "a").unwrap()).collect();
        assert_eq!(admission.retry_after(), Duration::from_secs(30));
    }

    #[test]
    fn the_average_duration_follows_recent_conversions() {
        let mut queue = Queue::default();
        for took in [10, 20] {
            queue.record_duration(Duration::from_secs(took));
        }
        assert_eq!(queue.average, Some(Duration::from_secs(12)));
    }

    #[test]
    fn an_abandoned_place_does_not_change_the_average() {
        let admission = Admission::unbounded(1);
        drop(enter(&admission, "a").unwrap());
        enter(&admission, "a").unwrap().leave();
        assert_eq!(lock(&admission.queue).average, None);
        let place = enter(&admission, "a").unwrap();
        place.work();
        place.leave();
        assert!(lock(&admission.queue).average.is_some());
        assert!(!admission.is_full());
    }

    proptest! {
        /// In any sequence of steps, the limit holds, and no client is refused while another client that has two places
        /// more has a waiting one.
        #[test]
        fn places_are_shared_fairly(
            workers in 1..3_usize,
            waiting in 0..5_usize,
            steps in prop::collection::vec((0..5_u8, 0..3_u8, any::<prop::sample::Index>()), 1..100),
        ) {
            let admission = Admission::new(workers, waiting);
            let mut inside: Vec<(String, QueuePlace)> = Vec::new();
            let mut jobs: Vec<QueuePlace> = Vec::new();
            for (what, who, index) in steps {
                let name = who.to_string();
                match what {
                    0 | 1 => {
                        let full = inside.len() == workers + waiting;
                        let has = |name: &str| inside.iter().filter(|(other, _)| other == name).count();
                        let idle = |(_, place): &&(String, QueuePlace)| place.began.get().is_none();
                        let most = inside.iter().filter(idle).map(|(other, _)| has(other)).max().unwrap_or_default();
                        let entered = enter(&admission, &name);
                        prop_assert_eq!(entered.is_ok(), !full || most >= has(&name) + 2);
                        if let Ok(place) = entered {
                            inside.push((name, place));
                            inside.retain(|(_, place)| !is_taken_over(place));
                        }
                    }
                    2 if !inside.is_empty() => inside[index.index(inside.len())].1.work(),
                    3 if !inside.is_empty() => drop(inside.remove(index.index(inside.len()))),
                    // Jobs come and go, which changes nothing for requests.
                    4 if who == 0 && !jobs.is_empty() => drop(jobs.remove(index.index(jobs.len()))),
                    4 => jobs.push(admission.enter_job()),
                    _ => {}
                }
                prop_assert_eq!(admission.inside(), inside.len());
                prop_assert!(inside.len() <= workers + waiting);
                prop_assert!(!jobs.iter().any(is_taken_over));
                prop_assert_eq!(lock(&admission.queue).jobs, jobs.len());
            }
            inside.clear();
            prop_assert!(lock(&admission.queue).clients.is_empty());
        }
    }
}
