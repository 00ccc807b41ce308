//! Bounds what reading models may cost this process, whatever they are and whoever sends them.

use super::blocking;
use crate::context::{Context, MemoryBudget};
use crate::domain::{Client, ConversionError};
use crate::slots::Slots;

/// Models read at a time for each processor, since some wait for the disk; and at most. Each may hold 64 MiB of JSON.
const PER_PROCESSOR: usize = 2;
const MOST: usize = 8;

/// Memory for what is parsed of all of them together, in bytes.
const MEMORY: u64 = 512 << 20;

/// Where models are unpacked, looked into, repacked and counted: on threads that may block, so many at a time. Clients
/// share the places, and one of these is free for another client at any time.
#[derive(Debug)]
pub(super) struct Reading {
    places: Slots,
    memory: MemoryBudget,
}

impl Default for Reading {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = (processors * PER_PROCESSOR).clamp(PER_PROCESSOR, MOST);
        Self { places: Slots::with_one_for_others(places), memory: MemoryBudget::new(MEMORY) }
    }
}

impl Reading {
    /// Waits for a place and runs the work. When this future is dropped, the work is cancelled; it keeps its place until
    /// it has noticed.
    ///
    /// # Errors
    /// What the work says; `internal` when it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        client: &Client,
        work: impl FnOnce(&Context) -> Result<T, ConversionError> + Send + 'static,
    ) -> Result<T, ConversionError> {
        let place = self.places.acquire(client).await;
        let (memory, client) = (self.memory.clone(), client.clone());
        blocking(move |cancel| {
            let _place = place;
            work(&Context { cancel: cancel.clone(), memory, client })
        })
        .await
    }
}
