//! Checks that the container has the memory that its conversions may use.

use std::fs;
use std::path::Path;

use crate::config::Config;

/// Names of the file that holds a control group's limit, in both versions.
const LIMITS: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// A warning if conversions together may use more memory than the container; running out would kill all of them.
pub fn warning(config: &Config) -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit = limit(Path::new("/sys/fs/cgroup"), &groups)?;
    too_little(limit, config.server.workers, config.engine.memory)
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

/// The lowest memory limit, in bytes, among the control groups in `groups` (`/proc/self/cgroup`) and their ancestors,
/// which are folders below `root`. A container may not see its own group; then the topmost folder has the limit.
fn limit(root: &Path, groups: &str) -> Option<u64> {
    let mut limits = Vec::new();
    for line in groups.lines() {
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { continue };
        let root = match controllers {
            // Version 2 has one tree for all controllers.
            "" => root.to_owned(),
            _ if controllers.split(',').any(|name| name == "memory") => root.join("memory"),
            _ => continue,
        };
        let group = root.join(path.trim_start_matches('/'));
        let folders = group.ancestors().take_while(|folder| folder.starts_with(&root));
        let files = folders.flat_map(|folder| LIMITS.map(|name| folder.join(name)));
        limits.extend(files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()));
    }
    limits.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_cgroup_limit_applies() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let limit = |groups: &str| limit(root.path(), groups);
        assert_eq!(limit("0::/"), None);
        write("pod/memory.max", "5368709120\n");
        write("pod/app/memory.max", "max\n");
        assert_eq!(limit("0::/pod/app"), Some(5 << 30));
        assert_eq!(limit("0::/"), None);
        // Version 1.
        write("memory/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(limit("9:pids:/a\n4:cpu,memory:/gone"), Some(1 << 30));
        assert_eq!(limit("9:pids:/a"), None);
    }

    #[test]
    fn a_memory_limit_below_the_workers_needs_is_reported() {
        assert_eq!(too_little(5 << 30, 2, 2 << 30), None);
        let said = too_little(512 << 20, 2, 2 << 30).unwrap();
        assert!(said.starts_with("this container may use 512 MiB of memory, but 2 conversions"), "{said}");
    }
}
