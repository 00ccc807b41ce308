//! Whether a container has the memory that its conversions may use.

use std::fs;
use std::path::Path;

use crate::config::Config;

/// Files of a control group's limit, of both versions.
const LIMITS: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// What to say where conversions may use more memory than the container: then one of them can end all.
pub fn warning(config: &Config) -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit = limit(Path::new("/sys/fs/cgroup"), &groups)?;
    too_little(limit, config.server.workers, config.engine.memory)
}

fn too_little(limit: u64, workers: usize, each: u64) -> Option<String> {
    let wanted = each.saturating_mul(workers as u64);
    (wanted > limit).then(|| {
        format!(
            "this container may use {} MiB of memory, and {workers} conversions (WORKERS) {} MiB each \
             (WORKER_MEMORY_LIMIT): one that takes them may end all; set one of these lower, or the container's \
             limit higher",
            limit >> 20,
            each >> 20
        )
    })
}

/// The least limit of the control groups in `/proc/self/cgroup` and of those above them, which are folders below `root`.
/// Where a container sees them as its own root, so it is.
fn limit(root: &Path, groups: &str) -> Option<u64> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_of_memory = controllers.is_empty() || controllers.split(',').any(|name| name == "memory");
        is_of_memory.then(|| (if controllers.is_empty() { "" } else { "memory" }, path.to_owned()))
    };
    let all = groups.lines().filter_map(of_line).flat_map(|(controller, path)| {
        let root = root.join(controller);
        let folder = root.join(path.trim_start_matches('/'));
        let above: Vec<_> =
            folder.ancestors().take_while(|folder| folder.starts_with(&root)).map(Path::to_owned).collect();
        above.into_iter().flat_map(|folder| LIMITS.map(|name| folder.join(name)))
    });
    all.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_above_a_process_counts() {
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
        // The first version.
        write("memory/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(limit("9:pids:/a\n4:cpu,memory:/gone"), Some(1 << 30));
        assert_eq!(limit("9:pids:/a"), None);
    }

    #[test]
    fn it_is_said_where_all_conversions_do_not_fit() {
        assert_eq!(too_little(5 << 30, 2, 2 << 30), None);
        let said = too_little(512 << 20, 2, 2 << 30).unwrap();
        assert!(said.starts_with("this container may use 512 MiB of memory, and 2 conversions"), "{said}");
    }
}
