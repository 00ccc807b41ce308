//! Checks that the container has the memory that its conversions may use.

use crate::config::Config;
use crate::executor::memory;

/// A warning if conversions together may use more memory than the container; running out would kill all of them.
pub fn warning(config: &Config) -> Option<String> {
    too_little(memory::of_container()?, config.server.workers, config.engine.memory)
}

fn too_little(limit: u64, workers: usize, each: u64) -> Option<String> {
    let wanted = each.saturating_mul(workers as u64);
    (wanted > limit).then(|| {
        format!(
            "this container may use {} MiB of memory, but {workers} conversions (WORKERS) may use {} MiB each \
             (WORKER_MEMORY_LIMIT); running out kills all of them: lower one of these, or raise the \
             container's limit",
            limit >> 20,
            each >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_limit_below_the_workers_needs_is_reported() {
        assert_eq!(too_little(5 << 30, 2, 2 << 30), None);
        let said = too_little(512 << 20, 2, 2 << 30).unwrap();
        assert!(said.starts_with("this container may use 512 MiB of memory, but 2 conversions"), "{said}");
    }
}
