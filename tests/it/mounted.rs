//! Disks that are small, or that cannot be written to.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system at a place, as long as this lives.
pub struct Mounted(pub PathBuf);

impl Mounted {
    /// Needs the right to mount: tests that use it are ignored unless asked for.
    pub fn new(place: &Path, bytes: u64) -> Mounted {
        std::fs::create_dir_all(place).unwrap();
        let options = format!("size={bytes},mode=700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place).output();
        let mount = mount.unwrap();
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
        Mounted(place.to_owned())
    }

    /// From now on nothing is written to it, or it is again.
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
