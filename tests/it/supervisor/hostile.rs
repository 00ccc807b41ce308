//! A compromised child: its attacks fail and leave no trace.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use meshgate::domain::SandboxMode;
use meshgate::domain::{ConversionError, ErrorCode};
use meshgate::executor::local::Blender;
use rustix::process::Signal;

use super::harness::{Harness, Job, LONG, script, signal, until, zygote};

fn hostile() -> Harness {
    let mut harness = Harness::new();
    harness.settings.entry = Some(script("hostile.py"));
    harness.settings.sandbox = SandboxMode::Require;
    harness.settings.hang_after = Duration::from_secs(10);
    harness
}

/// Runs an attack and returns its outcome.
async fn attack(harness: &Harness, blender: &Blender, name: &str) -> Result<String, ConversionError> {
    let job = harness.job(name);
    job.run(blender, LONG).await?;
    Ok(std::fs::read_to_string(job.result()).unwrap())
}

/// Targets for the attacks of a child.
struct Bait {
    _listeners: (TcpListener, UnixListener, UnixListener),
    _home: tempfile::TempDir,
    other: Job,
    job: Job,
}

impl Bait {
    fn new(harness: &Harness) -> Bait {
        let home = tempfile::tempdir().unwrap();
        let secret = home.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = home.path().join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        let name = format!("meshgate-hostile-{}", std::process::id());
        let named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let other = harness.job("model");
        let job = harness.job("escape");
        let orders = serde_json::json!({
            "supervisor": std::process::id(),
            "home": home.path(),
            "secret": secret,
            "other": other.folder.path(),
            // A variable that Cargo sets for every test stands for a secret.
            "token": std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned()),
            "port": tcp.local_addr().unwrap().port(),
            "socket": path,
            "abstract": name,
        });
        std::fs::write(job.folder.input().join("orders.json"), orders.to_string()).unwrap();
        Bait { _listeners: (tcp, unix, named), _home: home, other, job }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_child_can_do_nothing() {
    let harness = hostile();
    let blender = harness.start().await;
    assert_eq!(blender.sandbox_missing(), [""; 0]);
    let bait = Bait::new(&harness);
    bait.job.run(&blender, LONG).await.unwrap();
    assert_eq!(std::fs::read_to_string(bait.job.result()).unwrap(), "[]");
    assert!(bait.other.folder.input().join("model.obj").is_file());
    let left = |folder| std::fs::read_dir(folder).unwrap().count();
    assert_eq!((left(bait.other.folder.output()), left(bait.job.folder.output())), (0, 1));
    blender.shutdown().await;
}

/// Checks that the attacks are real: without a sandbox, most of them succeed.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_the_attacks_succeed() {
    let mut harness = hostile();
    harness.settings.sandbox = SandboxMode::Off;
    let blender = harness.start().await;
    let bait = Bait::new(&harness);
    let job = harness.job("harmless");
    let orders = bait.job.folder.input().join("orders.json");
    std::fs::copy(orders, job.folder.input().join("orders.json")).unwrap();
    job.run(&blender, LONG).await.unwrap();
    let done: Vec<String> = serde_json::from_slice(&std::fs::read(job.result()).unwrap()).unwrap();
    for name in
        ["read /etc/passwd", "connect by TCP", "connect to a Unix socket", "connect to an abstract socket"]
    {
        assert!(done.iter().any(|done| done == name), "{name} is not an attempt: {done:?}");
    }
    assert!(done.iter().any(|done| done.ends_with("/environ")), "{done:?}");
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_while_others_convert() {
    let mut harness = hostile();
    harness.settings.memory_bytes = 2 << 30;
    harness.settings.file_bytes = 50 << 20;
    harness.settings.cpu_seconds = Some(3);
    harness.settings.workers = 2;
    let blender = harness.start().await;
    for (name, code) in [
        ("allocate", ErrorCode::MemoryLimit),
        ("write", ErrorCode::OutputTooLarge),
        ("write_many", ErrorCode::OutputTooLarge),
        ("write_many_and_end", ErrorCode::OutputTooLarge),
        ("write_and_remove", ErrorCode::OutputTooLarge),
        ("burn", ErrorCode::Timeout),
        ("threads", ErrorCode::EngineCrashed),
    ] {
        let (ended, other) =
            tokio::join!(attack(&harness, &blender, name), attack(&harness, &blender, "flood"));
        assert_eq!(ended.unwrap_err().code, code, "{name}");
        assert_eq!(other.unwrap(), "[]", "beside {name}");
    }
    assert_eq!(attack(&harness, &blender, "write_enough").await.unwrap(), "[]");
    assert!(blender.stats().attempt_failures.is_empty(), "{:?}", blender.stats());
    blender.shutdown().await;
    until("its folder is gone", LONG, || harness.folders() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_hostile_child_are_refused_and_removed() {
    let harness = hostile();
    let blender = harness.start().await;
    for (name, code) in [
        ("many_files", ErrorCode::OutputTooLarge),
        ("deep", ErrorCode::OutputTooLarge),
        ("finish_early", ErrorCode::EngineCrashed),
        ("huge_report", ErrorCode::EngineCrashed),
        ("folder_report", ErrorCode::EngineCrashed),
    ] {
        let error = attack(&harness, &blender, name).await.unwrap_err();
        assert_eq!(error.code, code, "{name}: {error}");
        until("its folder is gone", LONG, || harness.folders() == 0).await;
    }
    assert_eq!(attack(&harness, &blender, "flood").await.unwrap(), "[]");
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zygote_killed_under_load_costs_no_conversion() {
    let mut harness = Harness::new();
    harness.settings.workers = 4;
    let blender = harness.start().await;
    let jobs: Vec<Job> = (0..4).map(|_| harness.job("wait")).collect();
    let mut running = Vec::new();
    for job in &jobs {
        running.push(job.begin(&blender).await);
    }
    signal(zygote(&blender), Signal::KILL);
    jobs.iter().for_each(Job::go);
    for begun in running {
        begun.run.await.unwrap();
    }
    blender.shutdown().await;
}
