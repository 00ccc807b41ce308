//! Cancels work on another thread when nobody waits for it any more.

use std::io::{self, Read, Seek, SeekFrom};
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
    /// Returns a guard for the caller that waits for the work.
    pub fn guard(&self) -> CancelGuard {
        CancelGuard(self.clone())
    }

    /// Sets the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Reads from `inner` until the flag is set: from then on every read fails with the error of [`Cancel::check`].
    pub fn reader<R>(&self, inner: R) -> Cancellable<R> {
        Cancellable { inner, cancel: self.clone() }
    }

    /// Fails if the flag is set. Long work calls it between its steps, so that it ends soon after the client has gone.
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

/// A reader that fails once it is cancelled; [`ConversionError::io`] recognises its error.
#[derive(Debug)]
pub struct Cancellable<R> {
    inner: R,
    cancel: Cancel,
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        self.inner.read(buffer)
    }
}

impl<R: Seek> Seek for Cancellable<R> {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.inner.seek(place)
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_guard_cancels() {
        let cancel = Cancel::default();
        let guard = cancel.guard();
        assert_eq!(cancel.check(), Ok(()));
        drop(guard);
        assert_eq!(cancel.clone().check().unwrap_err().code, ErrorCode::Cancelled);
        let error = io::copy(&mut cancel.reader(&b"more"[..]), &mut io::sink()).unwrap_err();
        assert_eq!(ConversionError::io("read the model", &error), cancel.check().unwrap_err());
    }
}
