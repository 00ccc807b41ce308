//! Kills what a killed program's conversions have left running.
//!
//! Zygote and children die with the program, by the kernel's doing. What a child itself started does not, when it
//! left the child's session; with seccomp nothing can be started at all, so this is about `SANDBOX=off` and kernels
//! without seccomp. Such a process gives itself away by its environment: `HOME` is a folder of the run that is gone.
//! One that has been given another environment on purpose is not found.
//!
//! Why not at once: the kernel kills by parent-death signal a process that asked for it itself, and only it; a
//! namespace that dies as a whole needs privileges that a container does not have; and a watcher that outlives the
//! program would be one more process that nothing ends.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

/// A process may start others while it is being looked for.
const ROUNDS: usize = 20;

const PAUSE: Duration = Duration::from_millis(5);

/// Kills this user's processes whose home is `folder` or below it; nobody else's is in a folder of a random name.
pub fn kill_at_home_in(folder: &Path) {
    for _ in 0..ROUNDS {
        if kill_round(folder) == 0 {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!(folder = %folder.display(), "processes of a killed program do not die");
}

/// Kills those that there are now; how many that were.
fn kill_round(folder: &Path) -> usize {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| kill(*pid, folder)).count()
}

fn kill(pid: Pid, folder: &Path) -> bool {
    // Held before its environment is read, so that the number is not another's meanwhile.
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    if !is_at_home_in(&environment, folder) {
        return false;
    }
    tracing::info!(
        pid = pid.as_raw_nonzero(),
        "killed a process that a conversion of a killed program had started"
    );
    rustix::process::pidfd_send_signal(process, Signal::KILL).is_ok()
}

fn is_at_home_in(environment: &[u8], folder: &Path) -> bool {
    let home = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"HOME="));
    home.is_some_and(|home| Path::new(std::ffi::OsStr::from_bytes(home)).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_home_in_the_folder_counts() {
        let is = |environment: &[u8]| is_at_home_in(environment, Path::new("/data/run-1"));
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
