//! Limits the threads and the memory that reading models takes.

use super::blocking::blocking;
use crate::context::{Context, MemoryBudget};
use crate::domain::{Client, ConversionError, Purpose};
use crate::slots::Slots;

/// Models read at a time for each processor; some of them wait for the disk.
const PER_PROCESSOR: usize = 2;
/// Most models read at a time. Each may hold 64 MiB of JSON.
const MAX_READERS: usize = 8;

/// Memory for the parsed data of all of them together, in bytes.
const MEMORY: u64 = 512 << 20;

/// Runs the unpacking, inspecting, repacking and counting of models on a limited number of blocking threads. Clients
/// share the places; one place is always free for another client.
#[derive(Debug)]
pub(super) struct ReadPool {
    places: Slots,
    memory: MemoryBudget,
}

impl Default for ReadPool {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = (processors * PER_PROCESSOR).clamp(PER_PROCESSOR, MAX_READERS);
        Self { places: Slots::with_one_for_others(places), memory: MemoryBudget::new(MEMORY) }
    }
}

impl ReadPool {
    /// Waits for a place and runs the work. Dropping the future cancels the work, which keeps its place until it ends.
    ///
    /// # Errors
    /// The error of the work; `internal` if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        client: &Client,
        work: impl FnOnce(&Context) -> Result<T, ConversionError> + Send + 'static,
    ) -> Result<T, ConversionError> {
        // Reading is fast, so jobs need no places of their own.
        let place = self.places.acquire(client, Purpose::Request).await;
        let (memory, client) = (self.memory.clone(), client.clone());
        blocking(move |cancel| {
            let _place = place;
            work(&Context { cancel: cancel.clone(), memory, client })
        })
        .await
    }
}
