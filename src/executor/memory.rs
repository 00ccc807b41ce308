//! The memory that this process and its conversions may use together.

use std::fs;
use std::path::Path;

/// Names of the file that holds a control group's limit, in both versions.
const LIMITS: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// Returns the memory limit of the container, in bytes; `None` if there is none, or it cannot be read.
pub fn of_container() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit(Path::new("/sys/fs/cgroup"), &groups)
}

/// Returns the memory of the machine, or the limit of the container if that is lower, in bytes; `None` if neither can
/// be read.
pub fn of_machine() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    total.into_iter().chain(of_container()).min()
}

/// The memory in the text of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
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
    fn the_memory_of_the_machine_is_found() {
        let text = "MemTotal:        2097152 kB\nMemFree:         1048576 kB\n";
        assert_eq!(total(text), Some(2 << 30));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(of_machine().is_some_and(|bytes| bytes > 64 << 20));
    }
}
