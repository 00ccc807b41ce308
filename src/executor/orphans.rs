//! Kills processes that the conversions of a killed gateway left running.
//!
//! The kernel ends the zygote and its children with the gateway. It does not end a process that a child started in a
//! session of its own. Seccomp forbids starting processes, so this concerns `SANDBOX=off` and kernels without seccomp.
//! Such a process is recognised by its environment: its `HOME` is a folder of the dead gateway's run. A process with
//! another `HOME` is not found.
//!
//! They are not killed sooner because a parent-death signal reaches only the process that asked for it, a PID namespace
//! needs privileges that a container lacks, and a watcher that outlives the gateway would itself need ending.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

/// Rounds of killing, because a process may start others during a round.
const ROUNDS: usize = 20;

const PAUSE: Duration = Duration::from_millis(5);

/// Kills this user's processes whose `HOME` is `folder` or below it. The folder's name is random, so no other process
/// has it.
pub fn kill_orphans_in(folder: &Path) {
    for _ in 0..ROUNDS {
        if kill_round(folder) == 0 {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!(folder = %folder.display(), "processes left by a killed gateway do not end");
}

/// Kills the processes found now and returns how many there were.
fn kill_round(folder: &Path) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| kill(*pid, folder)).count()
}

fn kill(pid: Pid, folder: &Path) -> bool {
    // The handle is opened before the environment is read: the PID could be reused in between.
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    if !works_in(&environment, folder) {
        return false;
    }
    tracing::info!(pid = pid.as_raw_nonzero(), "killed a process left by a conversion of a killed gateway");
    rustix::process::pidfd_send_signal(process, Signal::KILL).is_ok()
}

fn works_in(environment: &[u8], folder: &Path) -> bool {
    let home = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"HOME="));
    home.is_some_and(|home| Path::new(std::ffi::OsStr::from_bytes(home)).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orphans_are_recognised_by_their_home_folder() {
        let is = |environment: &[u8]| works_in(environment, Path::new("/data/run-1"));
        assert!(is(b"PATH=/bin\0HOME=/data/run-1/2/tmp\0"));
        assert!(is(b"HOME=/data/run-1"));
        for other in [
            &b"HOME=/data/run-12\0"[..],
            b"HOME=/data\0",
            b"OLD_HOME=/data/run-1\0",
            b"PWD=/data/run-1\0HOME=/home/ada\0",
            b"",
        ] {
            assert!(!is(other), "{}", String::from_utf8_lossy(other));
        }
    }
}
