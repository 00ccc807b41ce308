//! Slots for slow work, shared fairly between clients: the engine's, and those for reading models.
//!
//! - A free slot goes to the waiting client that holds the fewest slots. Among equals, it goes to the client that has
//!   been without longest: since its oldest conversion arrived, or since it last released a slot. Of one client's
//!   conversions, the oldest comes first.
//! - No slot is free while a conversion waits, except by the last two rules. So a client that is alone uses all slots,
//!   and clients that share a single slot take turns.
//! - A client that waits for [`PATIENCE`] while another client holds at least two slots more takes one of them over:
//!   the conversion that got its slot last is stopped, and starts again at its client's next turn. So no client waits
//!   for the long conversions of a client that holds all slots; with one slot, every client waits.
//! - A client that lost a slot this way may not hold all slots for [`PATIENCE`] after the latest conversion of another
//!   client. So a client that sends one request after another waits only once.
//! - If work cannot be stopped and started again, one slot stays free for other clients instead.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::Client;

/// How long a client waits before it takes over a slot: longer than most conversions take, because the work of the
/// stopped conversion is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A number of slots. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    slots: usize,
    free: usize,
    /// Whether one client may hold all slots.
    may_hold_all: bool,
    /// A counter that orders the arrivals of conversions, the grants of slots and their releases.
    next: u64,
    /// Clients that hold slots or wait.
    clients: HashMap<Client, ClientQueue>,
    /// The client that last lost a slot, and until when it may not hold all slots.
    held_back: Option<(Client, Instant)>,
}

/// One client's conversions.
#[derive(Debug, Default)]
struct ClientQueue {
    /// By the number of the grant; the token is cancelled when the slot is taken over.
    held: BTreeMap<u64, CancellationToken>,
    /// By the number of the arrival.
    waiting: BTreeMap<u64, oneshot::Sender<Slot>>,
    /// The number of its latest release.
    last_release: u64,
}

/// A slot that a conversion holds until this is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    client: Client,
    /// The number of the conversion's arrival.
    arrival: u64,
    /// The number of the grant.
    grant: u64,
    taken_over: CancellationToken,
}

impl Slots {
    pub fn new(slots: usize) -> Self {
        let clients = HashMap::new();
        let state = State { slots, free: slots, may_hold_all: true, next: 0, clients, held_back: None };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Makes two or more slots, of which one client holds all but one at most.
    pub fn with_one_for_others(slots: usize) -> Self {
        let all = Self::new(slots);
        all.lock().may_hold_all = false;
        all
    }

    /// Waits for a slot. Dropping the future leaves the queue.
    pub async fn acquire(&self, client: &Client) -> Slot {
        let arrival = self.lock().next_number();
        let waiting = self.wait(client, arrival);
        self.hand_out();
        waiting.granted().await
    }

    /// Slots that are held.
    pub fn busy(&self) -> usize {
        let state = self.lock();
        state.slots - state.free
    }

    /// Conversions that wait.
    pub fn waiting(&self) -> usize {
        self.lock().clients.values().map(|queue| queue.waiting.len()).sum()
    }

    fn wait(&self, client: &Client, arrival: u64) -> Waiting {
        let (sender, granted) = oneshot::channel();
        self.lock().clients.entry(client.clone()).or_default().waiting.insert(arrival, sender);
        Waiting { slots: self.clone(), client: client.clone(), arrival, granted }
    }

    fn hand_out(&self) {
        while let Some((sender, slot)) = self.grant_next() {
            // If the conversion is gone, the slot is dropped and so released.
            drop(sender.send(slot));
        }
    }

    /// Takes the next conversion out of its queue, with its slot.
    fn grant_next(&self) -> Option<(oneshot::Sender<Slot>, Slot)> {
        let mut state = self.lock();
        if state.free == 0 {
            return None;
        }
        let last_of = |queue: &ClientQueue| queue.held.len() + 1 == state.slots;
        let waiting = state.clients.iter().filter_map(|(client, queue)| Some((queue.rank()?, client, queue)));
        let waiting = waiting.filter(|(_, client, queue)| {
            !last_of(queue) || (state.may_hold_all && state.held_back(client).is_none())
        });
        let client = waiting.min_by_key(|(rank, ..)| *rank)?.1.clone();
        let grant = state.next_number();
        let queue = state.clients.get_mut(&client)?;
        let (arrival, sender) = queue.waiting.pop_first()?;
        let taken_over = CancellationToken::new();
        queue.held.insert(grant, taken_over.clone());
        state.free -= 1;
        Some((sender, Slot { slots: self.clone(), client, arrival, grant, taken_over }))
    }

    /// Releases the slot; the second call does nothing.
    fn release(&self, slot: &Slot) {
        let mut state = self.lock();
        let now = state.next_number();
        let Some(queue) = state.clients.get_mut(&slot.client) else { return };
        if queue.held.remove(&slot.grant).is_none() {
            return;
        }
        queue.last_release = now;
        state.free += 1;
        if let Some((_, until)) = state.held_back.as_mut().filter(|(client, _)| *client != slot.client) {
            *until = (*until).max(Instant::now() + PATIENCE);
        }
        state.forget(&slot.client);
        drop(state);
        self.hand_out();
    }

    /// Stops the youngest conversion of the client that holds most slots, if that client holds at least two more than
    /// `client`.
    fn take_over(&self, client: &Client) {
        let mut state = self.lock();
        let kept = |queue: &ClientQueue| queue.held.values().filter(|slot| !slot.is_cancelled()).count();
        let mine = state.clients.get(client).map_or(0, kept);
        let most = state.clients.iter().max_by_key(|(_, queue)| kept(queue));
        if let Some((other, most)) = most.filter(|(_, queue)| kept(queue) >= mine + 2)
            && let Some(youngest) = most.held.values().rfind(|slot| !slot.is_cancelled())
        {
            youngest.cancel();
            state.held_back = Some((other.clone(), Instant::now() + PATIENCE));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// How long this client may not hold all slots; `None` if it may.
    fn held_back(&self, client: &Client) -> Option<Duration> {
        let (_, until) = self.held_back.as_ref().filter(|(other, _)| other == client)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Forgets a client that neither holds a slot nor waits for one.
    fn forget(&mut self, client: &Client) {
        if self.clients.get(client).is_some_and(|queue| queue.held.is_empty() && queue.waiting.is_empty()) {
            self.clients.remove(client);
        }
    }
}

impl ClientQueue {
    /// The rank of the client among waiting clients, the smallest first; `None` if it does not wait.
    fn rank(&self) -> Option<(usize, u64)> {
        let (oldest, _) = self.waiting.first_key_value()?;
        Some((self.held.len(), self.last_release.max(*oldest)))
    }
}

impl Slot {
    /// Waits until another client takes it over.
    pub async fn taken_over(&self) {
        self.taken_over.cancelled().await;
    }

    /// Releases the slot and waits for another one, at the conversion's old place in its client's queue.
    pub async fn requeue(&mut self) {
        let waiting = self.slots.wait(&self.client, self.arrival);
        self.slots.release(self);
        *self = waiting.granted().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.release(self);
    }
}

/// A conversion in its client's queue, until this is dropped.
struct Waiting {
    slots: Slots,
    client: Client,
    arrival: u64,
    granted: oneshot::Receiver<Slot>,
}

impl Waiting {
    async fn granted(mut self) -> Slot {
        let began = Instant::now();
        loop {
            let held_back = self.slots.lock().held_back(&self.client);
            match timeout(held_back.unwrap_or(PATIENCE), &mut self.granted).await {
                Ok(Ok(slot)) => return slot,
                // Cannot happen: only dropping `self` leaves the queue without a slot.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) if began.elapsed() >= PATIENCE => self.slots.take_over(&self.client),
                Err(_) => {}
            }
            // A slot may have been kept free until now.
            self.slots.hand_out();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        if let Some(queue) = state.clients.get_mut(&self.client) {
            queue.waiting.remove(&self.arrival);
        }
        state.forget(&self.client);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Poll;

    use futures_util::{FutureExt, poll};
    use proptest::prelude::*;

    use super::*;

    type Wait = Pin<Box<dyn Future<Output = Slot> + Send>>;

    fn client(name: &str) -> Client {
        Client::Key(name.into())
    }

    /// Starts to wait for a slot for this client.
    fn waits(slots: &Slots, name: &str) -> Wait {
        let (slots, client) = (slots.clone(), client(name));
        let mut wait = Box::pin(async move { slots.acquire(&client).await });
        assert!(wait.as_mut().now_or_never().is_none(), "{name} does not wait");
        wait
    }

    async fn got(wait: &mut Wait) -> Option<Slot> {
        match poll!(wait) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_lone_client_gets_all_slots_in_order() {
        let slots = Slots::new(2);
        let (one, two) = (slots.acquire(&client("a")).await, slots.acquire(&client("a")).await);
        let (mut third, mut fourth) = (waits(&slots, "a"), waits(&slots, "a"));
        assert_eq!((slots.busy(), slots.waiting()), (2, 2));
        drop(two);
        assert!(got(&mut fourth).await.is_none());
        let third = got(&mut third).await.unwrap();
        drop(one);
        drop((third, got(&mut fourth).await.unwrap()));
        assert_eq!((slots.busy(), slots.waiting(), slots.lock().clients.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn clients_take_turns_at_one_slot() {
        let slots = Slots::new(1);
        let mut held = Some(slots.acquire(&client("a")).await);
        // A flood of requests, and two other clients that send the next request after each answer.
        let mut waiting: Vec<(&str, Wait)> = (0..6).map(|_| ("a", waits(&slots, "a"))).collect();
        waiting.extend(["b", "c"].map(|name| (name, waits(&slots, name))));
        let mut order = String::new();
        for _ in 0..8 {
            drop(held.take());
            let mut next = None;
            for (index, (_, wait)) in waiting.iter_mut().enumerate() {
                if let Some(slot) = got(wait).await {
                    next = Some((index, slot));
                    break;
                }
            }
            let (index, slot) = next.unwrap();
            let (name, _) = waiting.remove(index);
            held = Some(slot);
            order.push_str(name);
            if name != "a" {
                waiting.push((name, waits(&slots, name)));
            }
        }
        // Clients that came during the flood are served before it; clients served since are served after it.
        assert_eq!(order, "bcabcabc");
    }

    #[tokio::test]
    async fn the_client_with_fewest_slots_is_next() {
        let slots = Slots::new(3);
        let mut a: Vec<Slot> = Vec::new();
        for _ in 0..3 {
            a.push(slots.acquire(&client("a")).await);
        }
        let (mut again, mut b, mut second) = (waits(&slots, "a"), waits(&slots, "b"), waits(&slots, "b"));
        a.pop();
        let _b = got(&mut b).await.unwrap();
        a.pop();
        // Both hold one, and `a` has just released one.
        let _second = got(&mut second).await.unwrap();
        assert!(got(&mut again).await.is_none());
        a.pop();
        assert!(got(&mut again).await.is_some());
    }

    #[tokio::test]
    async fn a_dropped_request_frees_its_slot_and_client() {
        let slots = Slots::new(1);
        let held = slots.acquire(&client("a")).await;
        let (first, second) = (waits(&slots, "b"), waits(&slots, "c"));
        drop(first);
        assert_eq!(slots.waiting(), 1);
        let mut third = waits(&slots, "d");
        drop(held);
        // `c` was granted the slot, and is dropped before it is polled.
        drop(second);
        drop(got(&mut third).await.unwrap());
        assert_eq!((slots.busy(), slots.waiting(), slots.lock().clients.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_taken_over_after_a_long_wait() {
        let slots = Slots::new(2);
        let (old, mut young) = (slots.acquire(&client("a")).await, slots.acquire(&client("a")).await);
        let (others, mine) = (slots.clone(), client("b"));
        let b = tokio::spawn(async move { others.acquire(&mine).await });
        let (same, mine) = (slots.clone(), client("a"));
        let more = tokio::spawn(async move { same.acquire(&mine).await });
        young.taken_over().await;
        assert!(old.taken_over().now_or_never().is_none());
        // It keeps its place before later requests of its client.
        let again = tokio::spawn(async move {
            young.requeue().await;
            young
        });
        let b = b.await.unwrap();
        // One each: no client has too many.
        tokio::time::sleep(10 * PATIENCE).await;
        assert!(old.taken_over().now_or_never().is_none() && b.taken_over().now_or_never().is_none());
        assert!(!again.is_finished() && !more.is_finished());
        // The next requests of `b` and of another client find the slot free.
        drop(b);
        for other in ["b", "c", "b"] {
            tokio::time::sleep(PATIENCE / 2).await;
            assert!(!again.is_finished());
            drop(slots.acquire(&client(other)).now_or_never().unwrap());
        }
        let began = Instant::now();
        let again = again.await.unwrap();
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < 2 * PATIENCE);
        assert!(!more.is_finished());
        drop((old, again));
        drop(more.await.unwrap());
        assert_eq!((slots.busy(), slots.waiting(), slots.lock().clients.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_slot_can_be_reserved_for_other_clients() {
        let slots = Slots::with_one_for_others(2);
        let held = slots.acquire(&client("a")).await;
        let mut more = waits(&slots, "a");
        for _ in 0..2 {
            drop(slots.acquire(&client("b")).now_or_never().unwrap());
            assert!(got(&mut more).await.is_none());
        }
        drop(held);
        drop(got(&mut more).await.unwrap());
        assert_eq!((slots.busy(), slots.waiting(), slots.lock().clients.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_slot_is_never_taken_over() {
        let slots = Slots::new(1);
        let held = slots.acquire(&client("a")).await;
        let (others, mine) = (slots.clone(), client("b"));
        let b = tokio::spawn(async move { others.acquire(&mine).await });
        tokio::time::sleep(10 * PATIENCE).await;
        assert!(held.taken_over().now_or_never().is_none() && !b.is_finished());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Comes(u8),
        HangsUp(prop::sample::Index),
        Ends(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4_u8).prop_map(Step::Comes),
            1 => any::<prop::sample::Index>().prop_map(Step::HangsUp),
            3 => any::<prop::sample::Index>().prop_map(Step::Ends),
        ]
    }

    proptest! {
        /// In any sequence of steps, no slot is given twice, none is free while a conversion waits, and none goes to a
        /// client that holds more than another waiting client.
        #[test]
        fn slots_are_shared_fairly(count in 1..4_usize, steps in prop::collection::vec(step(), 1..80)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _inside = runtime.enter();
            let slots = Slots::new(count);
            let names = ["a", "b", "c", "d"].map(client);
            let mut waiting: Vec<(Client, Wait)> = Vec::new();
            let mut held: Vec<Slot> = Vec::new();
            for step in steps {
                match step {
                    Step::Comes(number) => {
                        let (name, slots) = (names[usize::from(number)].clone(), slots.clone());
                        let mine = name.clone();
                        waiting.push((name, Box::pin(async move { slots.acquire(&mine).await })));
                    }
                    Step::HangsUp(index) if !waiting.is_empty() => drop(waiting.remove(index.index(waiting.len()))),
                    Step::Ends(index) if !held.is_empty() => drop(held.remove(index.index(held.len()))),
                    Step::HangsUp(_) | Step::Ends(_) => {}
                }
                let before: Vec<Client> = held.iter().map(|slot| slot.client.clone()).collect();
                let holds = |name: &Client| before.iter().filter(|other| *other == name).count();
                let mut given = Vec::new();
                let mut still = Vec::new();
                for (name, mut wait) in waiting {
                    match wait.as_mut().now_or_never() {
                        Some(slot) => given.push(slot),
                        None => still.push((name, wait)),
                    }
                }
                waiting = still;
                for slot in given {
                    let least = waiting.iter().map(|(name, _)| holds(name)).min();
                    prop_assert!(least.is_none_or(|least| holds(&slot.client) <= least));
                    held.push(slot);
                }
                prop_assert!(held.len() <= count);
                prop_assert!(held.len() == count || waiting.is_empty());
                prop_assert_eq!((slots.busy(), slots.waiting()), (held.len(), waiting.len()));
            }
            drop((waiting, held));
            prop_assert!(slots.lock().clients.is_empty() && slots.lock().free == count);
        }
    }
}
