//! What work on a model is given besides the model: whether somebody still waits for it, and memory for what it parses.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{Cancel, ConversionError};

/// How often work that waits for memory looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// Passed to everything that reads a model. The default is never cancelled and has a budget of its own without a limit.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub cancel: Cancel,
    pub memory: MemoryBudget,
}

impl Context {
    /// Reserves memory for what is about to be parsed.
    ///
    /// # Errors
    /// `cancelled`
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, ConversionError> {
        self.memory.reserve(bytes, &self.cancel)
    }
}

/// Memory that all work of a process shares; clones share it, too.
///
/// Work reserves what it is about to parse in one step and holds one reservation at a time, so that no two wait for
/// each other.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

/// Memory that was reserved; it is given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Shared { limit, used: Mutex::default(), freed: Condvar::new() }))
    }

    /// Waits until `bytes` are free, or three quarters of the limit where they are more than that: a large model leaves
    /// room for small ones. Blocks the thread.
    ///
    /// # Errors
    /// `cancelled`
    pub fn reserve(&self, bytes: u64, cancel: &Cancel) -> Result<Reservation, ConversionError> {
        let bytes = bytes.min(self.0.limit / 4 * 3);
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        while self.0.limit - *used < bytes {
            cancel.check()?;
            let woken = self.0.freed.wait_timeout(used, LOOK);
            used = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *used += bytes;
        Ok(Reservation { shared: Arc::clone(&self.0), bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.shared.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.shared.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::domain::ErrorCode;

    #[test]
    fn what_does_not_fit_waits_for_what_is_given_back() {
        let budget = MemoryBudget::new(100);
        let first = budget.reserve(60, &Cancel::default()).unwrap();
        let waiting = thread::spawn({
            let budget = budget.clone();
            move || budget.reserve(50, &Cancel::default()).map(|reserved| reserved.bytes)
        });
        let beside = budget.reserve(40, &Cancel::default()).unwrap();
        assert!(!waiting.is_finished());
        drop((first, beside));
        assert_eq!(waiting.join().unwrap(), Ok(50));
        assert_eq!(budget.reserve(1000, &Cancel::default()).unwrap().bytes, 75);
    }

    #[test]
    fn cancelled_work_does_not_wait() {
        let budget = MemoryBudget::new(100);
        let _most = budget.reserve(100, &Cancel::default()).unwrap();
        let cancel = Cancel::default();
        drop(cancel.guard());
        assert_eq!(budget.reserve(50, &cancel).unwrap_err().code, ErrorCode::Cancelled);
    }
}
