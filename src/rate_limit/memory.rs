//! The limiter in the memory of this process. It is our own because crates for this count by a leaky bucket, and Redis' limiter,
//! which it stands in for, counts the requests of a window.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::limiter::{Decision, Entry, Limiter, Quota, Ticket};
use crate::domain::Client;

/// Most clients on a page. Two full pages take some 50 MB at ten requests a client. The latest clients, this many, are
/// always stored.
const CLIENTS: usize = 50_000;

/// A monotonic clock: the time since its start.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Counts the requests of this process.
pub struct MemoryLimiter {
    clock: Clock,
    logs: Mutex<Logs>,
}

/// The requests of all clients, on two pages. A client that sends a request moves to the current page. Once that page
/// is a window old, every request left on the last page has expired, and the last page is dropped.
#[derive(Default)]
struct Logs {
    page: HashMap<Client, Log>,
    last_page: HashMap<Client, Log>,
    turned: Duration,
    /// The longest window of any quota so far.
    longest: Duration,
    tickets: u64,
}

/// The requests of one client, oldest first: the time and the ticket of each.
type Log = VecDeque<(Duration, u64)>;

impl Default for MemoryLimiter {
    fn default() -> Self {
        let start = Instant::now();
        Self::with_clock(move || start.elapsed())
    }
}

impl MemoryLimiter {
    /// Creates a limiter with this clock, which must not go back.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { clock: Box::new(clock), logs: Mutex::default() }
    }

    pub(super) fn decide(&self, who: &Client, quota: Quota) -> Decision {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        // Read the clock under the lock, so that times are stored in order.
        let now = (self.clock)();
        logs.tickets += 1;
        let ticket = logs.tickets;
        let log = logs.of(who, now, quota.window);
        while log.front().is_some_and(|(came, _)| now >= *came + quota.window) {
            log.pop_front();
        }
        let most = quota.requests.get() as usize;
        let free = most.saturating_sub(log.len());
        if free > 0 {
            log.push_back((now, ticket));
        }
        // The request that must expire before another is allowed: not the oldest, if the quota was higher before.
        let next = log[log.len().saturating_sub(most)].0;
        Decision {
            remaining: free.saturating_sub(1) as u32,
            reset: (next + quota.window).saturating_sub(now),
            ticket: (free > 0).then(|| Ticket { who: who.clone(), entry: Entry::Here(ticket) }),
        }
    }

    pub(super) fn forget(&self, who: &Client, ticket: u64) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let Logs { page, last_page, .. } = &mut *logs;
        let Some(log) = page.get_mut(who).or_else(|| last_page.get_mut(who)) else { return };
        // Search from the end: the ticket is recent.
        if let Some(index) = log.iter().rposition(|(_, number)| *number == ticket) {
            log.remove(index);
        }
    }
}

impl Logs {
    /// The client's log, moved to the current page.
    fn of(&mut self, who: &Client, now: Duration, window: Duration) -> &mut Log {
        self.longest = self.longest.max(window);
        if now >= self.turned + self.longest || self.page.len() >= CLIENTS {
            self.last_page = mem::take(&mut self.page);
            self.turned = now;
        }
        let Self { page, last_page, .. } = self;
        page.entry(who.clone()).or_insert_with(|| last_page.remove(who).unwrap_or_default())
    }
}

impl Limiter for MemoryLimiter {
    fn take<'a>(&'a self, who: &'a Client, quota: Quota) -> BoxFuture<'a, Decision> {
        ready(self.decide(who, quota)).boxed()
    }

    fn give_back(&self, ticket: Ticket) -> BoxFuture<'_, ()> {
        if let Entry::Here(number) = ticket.entry {
            self.forget(&ticket.who, number);
        }
        ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A limiter and its clock, in seconds.
    fn limiter() -> (MemoryLimiter, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        (MemoryLimiter::with_clock(move || Duration::from_secs(clock.load(Ordering::Relaxed))), seconds)
    }

    fn quota(requests: u32, seconds: u64) -> Quota {
        Quota { requests: NonZeroU32::new(requests).unwrap(), window: Duration::from_secs(seconds) }
    }

    fn client(number: u32) -> Client {
        Client::address(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    fn remembered(limiter: &MemoryLimiter) -> usize {
        let logs = limiter.logs.lock().unwrap();
        logs.page.len() + logs.last_page.len()
    }

    #[test]
    fn many_clients_take_bounded_memory() {
        let (limiter, _) = limiter();
        for number in 0..5 * CLIENTS as u32 {
            assert!(limiter.decide(&client(number), quota(1, 60)).ticket.is_some());
        }
        assert!(remembered(&limiter) <= 2 * CLIENTS);
        // The latest are still stored.
        let latest = 5 * CLIENTS as u32 - 1;
        for number in [latest, latest - CLIENTS as u32 / 2] {
            assert!(limiter.decide(&client(number), quota(1, 60)).ticket.is_none(), "{number}");
        }
    }

    #[test]
    fn inactive_clients_are_removed_and_active_ones_kept() {
        let (limiter, seconds) = limiter();
        for number in 0..100 {
            limiter.decide(&client(number), quota(2, 60));
        }
        // This client moves from page to page, and each of its requests counts for a whole window.
        for second in [59, 60, 61, 119, 120, 121, 180, 181] {
            seconds.store(second, Ordering::Relaxed);
            limiter.decide(&client(1000), quota(1, 60));
        }
        assert_eq!(remembered(&limiter), 1);
        let refused = limiter.decide(&client(1000), quota(1, 60));
        assert!(refused.ticket.is_none());
        // Its requests at 59, 119 and 180 were allowed.
        assert_eq!(refused.reset, Duration::from_secs(59));
    }

    #[test]
    fn a_ticket_of_the_previous_page_can_be_returned() {
        let (limiter, seconds) = limiter();
        seconds.store(50, Ordering::Relaxed);
        let ticket = limiter.decide(&client(1), quota(1, 60)).ticket.unwrap();
        seconds.store(100, Ordering::Relaxed);
        limiter.decide(&client(2), quota(1, 60));
        let Entry::Here(number) = ticket.entry else { panic!("{ticket:?}") };
        limiter.forget(&ticket.who, number);
        assert!(limiter.decide(&client(1), quota(1, 60)).ticket.is_some());
    }
}
