//! The context of work on a model: cancellation, the memory budget and the client.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{Cancel, Client, ConversionError, HeldBytes};

/// How often work that waits for memory checks for cancellation.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// Passed to everything that reads a model. The default is never cancelled and has an unlimited budget of its own.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub cancel: Cancel,
    pub memory: MemoryBudget,
    /// Whose model it is.
    pub client: Client,
}

impl Context {
    /// Reserves memory for data that is about to be parsed: waits until `bytes` are free; a larger request gets three
    /// quarters of the limit. One client never holds more than that, so that small models of other clients find room.
    /// Blocks the thread.
    ///
    /// # Errors
    /// `cancelled`
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, ConversionError> {
        let Shared { limit, used, freed } = &*self.memory.0;
        let most = limit / 4 * 3;
        let bytes = bytes.min(most);
        let mut used = used.lock().unwrap_or_else(PoisonError::into_inner);
        while limit - used.all() < bytes || most - used.of(&self.client) < bytes {
            self.cancel.check()?;
            used = freed.wait_timeout(used, CHECK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        used.add(&self.client, bytes);
        Ok(Reservation { context: self.clone(), bytes })
    }
}

/// A memory budget for all work of a process; clones share it.
///
/// Work makes one reservation at a time, for all that it is about to parse, so that no two wait for each other.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: u64,
    used: Mutex<HeldBytes>,
    freed: Condvar,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Shared { limit, used: Mutex::default(), freed: Condvar::new() }))
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

/// Reserved memory, released when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    context: Context,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Shared { used, freed, .. } = &*self.context.memory.0;
        used.lock().unwrap_or_else(PoisonError::into_inner).subtract(&self.context.client, self.bytes);
        freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::domain::ErrorCode;

    fn context(memory: &MemoryBudget, client: u8) -> Context {
        let client = Client::address([192, 0, 2, client].into());
        Context { memory: memory.clone(), client, cancel: Cancel::default() }
    }

    fn cancelled(memory: &MemoryBudget, client: u8) -> Context {
        let context = context(memory, client);
        context.cancel.cancel();
        context
    }

    #[test]
    fn a_reservation_waits_until_memory_is_released() {
        let budget = MemoryBudget::new(100);
        let first = context(&budget, 1).reserve(60).unwrap();
        let waiting = thread::spawn({
            let context = context(&budget, 1);
            move || context.reserve(50).map(|reserved| reserved.bytes)
        });
        let beside = context(&budget, 2).reserve(40).unwrap();
        assert!(!waiting.is_finished());
        drop((first, beside));
        assert_eq!(waiting.join().unwrap(), Ok(50));
        assert_eq!(context(&budget, 1).reserve(1000).unwrap().bytes, 75);
        assert!(budget.0.used.lock().unwrap().is_empty());
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let budget = MemoryBudget::new(100);
        let _most = context(&budget, 1).reserve(75).unwrap();
        assert_eq!(cancelled(&budget, 1).reserve(1).unwrap_err().code, ErrorCode::Cancelled);
        assert_eq!(cancelled(&budget, 2).reserve(25).unwrap().bytes, 25);
    }

    #[test]
    fn cancelled_work_does_not_wait() {
        let budget = MemoryBudget::new(100);
        let _some = context(&budget, 1).reserve(60).unwrap();
        assert_eq!(cancelled(&budget, 2).reserve(50).unwrap_err().code, ErrorCode::Cancelled);
    }
}
