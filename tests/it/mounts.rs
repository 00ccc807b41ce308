//! Small and read-only disks.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small mounted file system, unmounted when dropped.
pub struct Mounted(pub PathBuf);

impl Mounted {
    /// Mounts it. Needs the right to mount, so tests that use it are ignored by default.
    pub fn new(place: &Path, bytes: u64) -> Mounted {
        std::fs::create_dir_all(place).unwrap();
        let options = format!("size={bytes},mode=700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place).output();
        let mount = mount.unwrap();
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
        Mounted(place.to_owned())
    }

    /// Makes the file system writable or read-only.
    pub fn set_writable(&self, writable: bool) {
        let options = if writable { "remount,rw" } else { "remount,ro" };
        let mount = Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap();
        assert!(mount.success(), "{options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
