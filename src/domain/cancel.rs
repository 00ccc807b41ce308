//! Telling work on another thread that nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ConversionError, ErrorCode};

/// A flag that is set once; clones are the same flag. The default is never set.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// Sets the flag when it is dropped.
#[derive(Debug)]
pub struct CancelGuard(Cancel);

impl Cancel {
    /// The guard belongs to whoever waits for the work.
    pub fn guard(&self) -> CancelGuard {
        CancelGuard(self.clone())
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Called between the steps of long work, so that it ends soon after the client has gone.
    ///
    /// # Errors
    /// `cancelled`
    pub fn check(&self) -> Result<(), ConversionError> {
        if self.is_cancelled() {
            return Err(ConversionError::new(ErrorCode::Cancelled, "the conversion was cancelled"));
        }
        Ok(())
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_is_dropped_cancels() {
        let cancel = Cancel::default();
        let guard = cancel.guard();
        assert_eq!(cancel.check(), Ok(()));
        drop(guard);
        assert_eq!(cancel.clone().check().unwrap_err().code, ErrorCode::Cancelled);
    }
}
