//! Shutdown and sudden death of the program (promise 5), and the cost of an idle engine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use meshgate::domain::ErrorCode;
use meshgate::domain::SandboxMode;
use meshgate::executor::workdir::WorkDir;
use rustix::process::Signal;

use super::harness::{A_SECOND, Harness, Job, LONG, signal, until, zygote};
use crate::busy_engine::alive;

const HELPER: &str = "MESHGATE_TEST_KILLED_IN";
/// A variable that makes the helper convert without a sandbox, with descendants that leave their session.
const ESTRANGED: &str = "MESHGATE_TEST_ESTRANGED";

/// A helper process for other tests to kill, not a test.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a separate process"]
async fn process_to_be_killed() {
    let base = PathBuf::from(std::env::var_os(HELPER).expect("run by another test only"));
    let mut harness = Harness::new();
    harness.settings.work = WorkDir::open(&base).unwrap();
    let estranged = std::env::var_os(ESTRANGED).is_some();
    if estranged {
        harness.settings.sandbox = SandboxMode::Off;
    }
    let blender = harness.start().await;
    let job = Job::new(&harness.settings.work, if estranged { "estranged" } else { "wait" });
    let running = job.begin(&blender).await;
    let mut pids = format!("{} {}", zygote(&blender), running.pid);
    if estranged {
        let descendants = job.folder.input().join("descendants");
        until("there are descendants", LONG, || descendants.exists()).await;
        pids = format!("{pids} {}", std::fs::read_to_string(descendants).unwrap());
    }
    std::fs::write(base.join("pids.new"), pids).unwrap();
    std::fs::rename(base.join("pids.new"), base.join("pids")).unwrap();
    let _ = running.run.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_leaves_no_processes_or_folders() {
    let base = tempfile::tempdir().unwrap();
    let mut process = Killed(start_helper(base.path(), false));
    let pids = base.path().join("pids");
    until("the helper converts", LONG, || pids.exists() || process.0.try_wait().unwrap().is_some()).await;
    let pids: Vec<i32> =
        std::fs::read_to_string(pids).unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| alive(*pid)), "{pids:?}");
    let runs = || {
        let names = std::fs::read_dir(base.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("run-")).count()
    };
    assert_eq!(runs(), 1);

    // While it lives, another start does not remove its folder.
    drop(WorkDir::open(base.path()).unwrap());
    assert_eq!(runs(), 1);

    process.0.kill().unwrap();
    process.0.wait().unwrap();
    until("zygote and child are gone", A_SECOND, || !pids.iter().any(|pid| alive(*pid))).await;
    assert_eq!(runs(), 1, "a killed program cannot clean up");
    drop(WorkDir::open(base.path()).unwrap());
    assert_eq!(runs(), 0);
}

/// A descendant outlives its parent; the next start finds and kills it.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_kills_escaped_descendants() {
    let base = tempfile::tempdir().unwrap();
    let mut process = Killed(start_helper(base.path(), true));
    let pids = base.path().join("pids");
    until("the helper converts", LONG, || pids.exists() || process.0.try_wait().unwrap().is_some()).await;
    let pids: Vec<i32> =
        std::fs::read_to_string(pids).unwrap().split(' ').map(|pid| pid.parse().unwrap()).collect();
    let (family, estranged) = pids.split_at(2);
    assert!(estranged.len() == 2 && pids.iter().all(|pid| alive(*pid)), "{pids:?}");

    // While it lives, another start does not kill its processes.
    drop(WorkDir::open(base.path()).unwrap());
    assert!(pids.iter().all(|pid| alive(*pid)), "{pids:?}");

    process.0.kill().unwrap();
    process.0.wait().unwrap();
    until("zygote and child are gone", A_SECOND, || !family.iter().any(|pid| alive(*pid))).await;
    drop(WorkDir::open(base.path()).unwrap());
    // Killed at once; the kernel ends them when it schedules them.
    until("escaped descendants are gone", A_SECOND, || !estranged.iter().any(|pid| alive(*pid))).await;
}

fn start_helper(base: &Path, estranged: bool) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "supervisor::death::process_to_be_killed", "--ignored"])
        .env(HELPER, base)
        .envs(estranged.then_some((ESTRANGED, "1")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the process even when its test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_leaves_no_processes() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let job = harness.job("wait");
    let mut running = job.begin(&blender).await;
    let (zygote, child) = (zygote(&blender), running.pid);
    let (error, ()) = tokio::join!(&mut running.run, blender.shutdown());
    assert_eq!(error.unwrap_err().code, ErrorCode::EngineUnavailable);
    assert!(!alive(zygote) && !alive(child));
    let code = harness.job("cube").code(&blender, LONG).await;
    assert_eq!(code, ErrorCode::EngineUnavailable);
    assert!(blender.stats().restarts.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_supervisor_leaves_no_zygote() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let zygote = zygote(&blender);
    drop(blender);
    until("the zygote is gone", LONG, || !alive(zygote)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_does_not_reach_the_engine() {
    let harness = Harness::new();
    let blender = harness.start().await;
    let pid = zygote(&blender);
    let group = |pid| rustix::process::getpgid(rustix::process::Pid::from_raw(pid)).unwrap();
    assert_ne!(group(pid), group(0));
    signal(pid, Signal::INT);
    harness.job("cube").run(&blender, LONG).await.unwrap();
    assert_eq!(zygote(&blender), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_engine_is_one_sleeping_process() {
    let harness = Harness::new();
    let blender = harness.start().await;
    harness.job("cube").run(&blender, LONG).await.unwrap();
    until("it is idle", LONG, || blender.stats().busy == 0).await;
    let status = || std::fs::read_to_string(format!("/proc/{}/status", zygote(&blender))).unwrap();
    let field = |name: &str| -> u64 {
        let status = status();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let rss_mib = field("VmRSS:") >> 10;
    assert!(rss_mib < 300, "{rss_mib} MiB");
    // An idle engine must not poll. One wake-up may still be under way, and Python tidies up once after the start.
    let mut woken = Vec::new();
    for _ in 0..3 {
        let before = field("voluntary_ctxt_switches:");
        tokio::time::sleep(Duration::from_secs(2)).await;
        woken.push(field("voluntary_ctxt_switches:") - before);
    }
    assert!(woken.iter().any(|times| *times <= 1), "woken {woken:?} times, each in 2 s");
}
