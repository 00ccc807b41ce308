//! The supervisor's counters, and one conversion's use of the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::Format;

/// Why a zygote was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartReason {
    /// It had served its number of conversions.
    Recycled,
    /// It ended by itself.
    Died,
    /// It was killed, because it did not answer.
    Unresponsive,
}

impl RestartReason {
    /// The value of a metric's label.
    pub const fn word(self) -> &'static str {
        match self {
            RestartReason::Recycled => "recycled",
            RestartReason::Died => "died",
            RestartReason::Unresponsive => "unresponsive",
        }
    }
}

/// The failure of an attempt that was retried or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptFailure {
    /// The child died.
    Crash,
    /// The child slept without end.
    Hang,
    /// The zygote went down with the child.
    EngineLost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairStats {
    pub crashes: u64,
    pub hangs: u64,
    pub engine_losses: u64,
}

/// A snapshot; the counts start at zero with the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    pub slots: usize,
    /// Slots in which a conversion runs.
    pub busy: usize,
    /// Conversions that wait for a slot.
    pub waiting: usize,
    /// Whether conversions are accepted.
    pub available: bool,
    /// PID of the warm zygote, while there is one.
    pub zygote: Option<u32>,
    pub restarts: BTreeMap<RestartReason, u64>,
    pub failed_starts: u64,
    /// By source and target format; a pair with none is absent.
    pub attempt_failures: BTreeMap<(Format, Format), PairStats>,
}

/// One conversion's wait for a slot and its children's memory, filled in as the conversion runs, however it ends.
#[derive(Default)]
pub struct Usage {
    waited: OnceLock<Duration>,
    child_observer: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").field("waited", &self.waited).finish_non_exhaustive()
    }
}

impl Usage {
    /// The time spent waiting for a slot, in vain or not; `None` until the wait ends.
    pub fn waited(&self) -> Option<Duration> {
        self.waited.get().copied()
    }

    /// Calls `observe` with the highest resident set of each child, in bytes, when the child is gone. That may be after
    /// the conversion was answered. Only the first call of this method has an effect.
    pub fn observe_children(&self, observe: impl Fn(u64) + Send + Sync + 'static) {
        let _ = self.child_observer.set(Box::new(observe));
    }

    pub(super) fn child_used(&self, bytes: u64) {
        if let Some(observe) = self.child_observer.get().filter(|_| bytes > 0) {
            observe(bytes);
        }
    }

    /// Measures the wait, until the guard is dropped.
    pub(super) fn waiting(&self) -> WaitTimer<'_> {
        WaitTimer { usage: self, began: Instant::now() }
    }
}

/// A guard that measures a wait, also one that is abandoned.
pub(super) struct WaitTimer<'a> {
    usage: &'a Usage,
    began: Instant,
}

impl Drop for WaitTimer<'_> {
    fn drop(&mut self) {
        let _ = self.usage.waited.set(self.began.elapsed());
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Stats>);

impl Counters {
    pub fn restart(&self, reason: RestartReason) {
        *self.counts().restarts.entry(reason).or_default() += 1;
    }

    pub fn failed_start(&self) {
        self.counts().failed_starts += 1;
    }

    pub fn attempt_failure(&self, pair: (Format, Format), failure: AttemptFailure) {
        let mut counts = self.counts();
        let pair = counts.attempt_failures.entry(pair).or_default();
        match failure {
            AttemptFailure::Crash => pair.crashes += 1,
            AttemptFailure::Hang => pair.hangs += 1,
            AttemptFailure::EngineLost => pair.engine_losses += 1,
        }
    }

    /// Returns the counts kept here; the caller adds those of the slots and the zygote.
    pub fn snapshot(&self) -> Stats {
        self.counts().clone()
    }

    fn counts(&self) -> MutexGuard<'_, Stats> {
        // A panic cannot leave the counts half updated.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
