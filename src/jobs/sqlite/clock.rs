//! The clock of leases.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A clock that all processes of this machine share, that nobody can set, and that also counts while the machine is
/// suspended. It begins anew when the machine starts.
#[derive(Debug, Clone)]
pub struct Clock {
    /// A different one after each start of the machine.
    pub boot: String,
    /// Returns the milliseconds since then.
    pub now: fn() -> u64,
}

impl Clock {
    /// The clock of this machine.
    ///
    /// # Errors
    /// A sentence, when the kernel does not tell the ID of its start.
    pub fn of_machine() -> Result<Self, String> {
        let boot =
            fs::read_to_string(BOOT_ID).map_err(|error| format!("could not read {BOOT_ID}: {error}"))?;
        Ok(Self { boot: boot.trim().to_owned(), now: since_boot })
    }
}

fn since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is ever negative.
    (time.tv_sec as u64).saturating_mul(1000).saturating_add(time.tv_nsec as u64 / 1_000_000)
}
