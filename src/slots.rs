//! Slots for slow work, shared fairly between clients: the engine's, and those for reading models.
//!
//! - Requests go before jobs, unless jobs hold fewer slots than their share. If their share is all slots, requests and
//!   jobs take turns. So neither waits for ever.
//! - Among requests, and among jobs, a free slot goes to the waiting client that holds the fewest slots. Among equals,
//!   it goes to the client that has been without longest: since its oldest conversion arrived, or since it last released
//!   a slot. Of one client's conversions, the oldest comes first. Its jobs do not count against its requests.
//! - No slot is free while a conversion waits, except by the last two rules. So a client that is alone uses all slots,
//!   and clients that share a single slot take turns.
//! - A client that waits for [`PATIENCE`] while another client holds at least two slots more takes one of them over:
//!   the conversion that got its slot last is stopped, and starts again at its client's next turn. So no client waits
//!   for the long conversions of a client that holds all slots; with one slot, every client waits. A request also takes
//!   over the slot of a job, while jobs hold more than their share; no job takes over the slot of a request.
//! - A client that lost a slot this way may not hold all slots for [`PATIENCE`] after the latest conversion of another
//!   client. So a client that sends one request after another waits only once.
//! - If work cannot be stopped and started again, one slot stays free for other clients instead.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::{Client, Purpose};

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
    /// Slots that jobs may hold while requests wait.
    job_share: usize,
    /// Whether the latest slot that was given went to a job.
    job_was_last: bool,
    /// Whether one client may hold all slots.
    may_hold_all: bool,
    /// A counter that orders the arrivals of conversions, the grants of slots and their releases.
    next: u64,
    /// Parties that hold slots or wait.
    parties: HashMap<Party, PartyQueue>,
    /// The party that last lost a slot, and until when it may not hold all slots.
    held_back: Option<(Party, Instant)>,
}

/// A client's requests, or its jobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Party {
    client: Client,
    is_job: bool,
}

/// The conversions of a party.
#[derive(Debug, Default)]
struct PartyQueue {
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
    party: Party,
    /// The number of the conversion's arrival.
    arrival: u64,
    /// The number of the grant.
    grant: u64,
    taken_over: CancellationToken,
}

impl Slots {
    /// `job_share`: slots that jobs may hold while requests wait, at least one.
    pub fn new(slots: usize, job_share: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            slots,
            free: slots,
            job_share: job_share.max(1),
            job_was_last: false,
            may_hold_all: true,
            next: 0,
            parties: HashMap::new(),
            held_back: None,
        })))
    }

    /// Makes two or more slots, of which one client holds all but one at most.
    pub fn with_one_for_others(slots: usize) -> Self {
        let all = Self::new(slots, 1);
        all.lock().may_hold_all = false;
        all
    }

    /// Waits for a slot. Dropping the future leaves the queue.
    pub async fn acquire(&self, client: &Client, purpose: Purpose) -> Slot {
        let party = Party { client: client.clone(), is_job: purpose.is_job() };
        let arrival = self.lock().next_number();
        let waiting = self.wait(party, arrival);
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
        self.lock().parties.values().map(|queue| queue.waiting.len()).sum()
    }

    fn wait(&self, party: Party, arrival: u64) -> Waiting {
        let (sender, granted) = oneshot::channel();
        self.lock().parties.entry(party.clone()).or_default().waiting.insert(arrival, sender);
        Waiting { slots: self.clone(), party, arrival, granted }
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
        let party = state.next_party()?.clone();
        let grant = state.next_number();
        let queue = state.parties.get_mut(&party)?;
        let (arrival, sender) = queue.waiting.pop_first()?;
        let taken_over = CancellationToken::new();
        queue.held.insert(grant, taken_over.clone());
        state.free -= 1;
        state.job_was_last = party.is_job;
        Some((sender, Slot { slots: self.clone(), party, arrival, grant, taken_over }))
    }

    /// Releases the slot; the second call does nothing.
    fn release(&self, slot: &Slot) {
        let mut state = self.lock();
        let now = state.next_number();
        let Some(queue) = state.parties.get_mut(&slot.party) else { return };
        if queue.held.remove(&slot.grant).is_none() {
            return;
        }
        queue.last_release = now;
        state.free += 1;
        if let Some((_, until)) = state.held_back.as_mut().filter(|(party, _)| *party != slot.party) {
            *until = (*until).max(Instant::now() + PATIENCE);
        }
        state.forget(&slot.party);
        drop(state);
        self.hand_out();
    }

    /// Stops the conversion whose slot `party` takes over after a long wait, if there is one.
    fn take_over(&self, party: &Party) {
        let mut state = self.lock();
        if let Some((other, slot)) = state.slot_to_take_over(party) {
            slot.cancel();
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

    /// The waiting party that gets the next slot.
    fn next_party(&self) -> Option<&Party> {
        let may_hold_all = |party: &Party| self.may_hold_all && self.held_back(party).is_none();
        let jobs_first = self.jobs_go_first();
        let waiting = self.parties.iter().filter_map(|(party, queue)| {
            let rank = queue.rank()?;
            let may_hold_more = queue.held.len() + 1 < self.slots || may_hold_all(party);
            may_hold_more.then_some((party.is_job != jobs_first, rank, party))
        });
        waiting.min_by_key(|(is_second, rank, _)| (*is_second, *rank)).map(|(_, _, party)| party)
    }

    /// Whether waiting jobs go before waiting requests.
    fn jobs_go_first(&self) -> bool {
        let jobs = self.parties.iter().filter(|(party, _)| party.is_job);
        let held: usize = jobs.map(|(_, queue)| queue.held.len()).sum();
        held < self.job_share && (self.job_share < self.slots || !self.job_was_last)
    }

    /// The youngest slot of the party that holds most, if that party holds at least two more than `party`. For a request,
    /// while jobs hold more than their share, the youngest slot of all jobs.
    fn slot_to_take_over(&self, party: &Party) -> Option<(&Party, &CancellationToken)> {
        let of_jobs = self.parties.iter().filter(|(other, _)| other.is_job);
        let of_jobs = of_jobs.flat_map(|(other, queue)| queue.kept().map(move |slot| (other, slot)));
        if !party.is_job && of_jobs.clone().count() > self.job_share {
            return of_jobs.max_by_key(|(_, (grant, _))| *grant).map(|(other, (_, slot))| (other, slot));
        }
        let mine = self.parties.get(party).map_or(0, |queue| queue.kept().count());
        let others = self.parties.iter().filter(|(other, _)| other.is_job || !party.is_job);
        let (other, most) = others.max_by_key(|(_, queue)| queue.kept().count())?;
        let (_, youngest) = most.kept().next_back().filter(|_| most.kept().count() >= mine + 2)?;
        Some((other, youngest))
    }

    /// How long this party may not hold all slots; `None` if it may.
    fn held_back(&self, party: &Party) -> Option<Duration> {
        let (_, until) = self.held_back.as_ref().filter(|(other, _)| other == party)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Forgets a party that neither holds a slot nor waits for one.
    fn forget(&mut self, party: &Party) {
        if self.parties.get(party).is_some_and(|queue| queue.held.is_empty() && queue.waiting.is_empty()) {
            self.parties.remove(party);
        }
    }
}

impl PartyQueue {
    /// The rank among waiting parties of the same kind, the smallest first; `None` if it does not wait.
    fn rank(&self) -> Option<(usize, u64)> {
        let (oldest, _) = self.waiting.first_key_value()?;
        Some((self.held.len(), self.last_release.max(*oldest)))
    }

    /// The slots that nobody has taken over, the youngest last.
    fn kept(&self) -> impl DoubleEndedIterator<Item = (&u64, &CancellationToken)> + Clone {
        self.held.iter().filter(|(_, slot)| !slot.is_cancelled())
    }
}

impl Slot {
    /// Waits until another client takes it over.
    pub async fn taken_over(&self) {
        self.taken_over.cancelled().await;
    }

    /// Releases the slot and waits for another one, at the conversion's old place in its client's queue.
    pub async fn requeue(&mut self) {
        let waiting = self.slots.wait(self.party.clone(), self.arrival);
        self.slots.release(self);
        *self = waiting.granted().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.release(self);
    }
}

/// A conversion in its party's queue, until this is dropped.
struct Waiting {
    slots: Slots,
    party: Party,
    arrival: u64,
    granted: oneshot::Receiver<Slot>,
}

impl Waiting {
    async fn granted(mut self) -> Slot {
        let began = Instant::now();
        loop {
            let held_back = self.slots.lock().held_back(&self.party);
            match timeout(held_back.unwrap_or(PATIENCE), &mut self.granted).await {
                Ok(Ok(slot)) => return slot,
                // Cannot happen: only dropping `self` leaves the queue without a slot.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) if began.elapsed() >= PATIENCE => self.slots.take_over(&self.party),
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
        if let Some(queue) = state.parties.get_mut(&self.party) {
            queue.waiting.remove(&self.arrival);
        }
        state.forget(&self.party);
    }
}

#[cfg(test)]
mod tests;
