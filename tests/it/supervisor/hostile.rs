//! A compromised child: its attacks fail and leave no trace.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use meshgate::domain::SandboxMode;
use meshgate::domain::{ConversionError, ErrorCode};
use meshgate::executor::local::Blender;
use rustix::process::Signal;

use super::bench::{Bench, Job, LONG, script, signal, until, zygote};

fn hostile() -> Bench {
    let mut bench = Bench::new();
    bench.settings.entry = Some(script("hostile.py"));
    bench.settings.sandbox = SandboxMode::Require;
    bench.settings.hang_after = Duration::from_secs(10);
    bench
}

/// Runs an attack and returns its outcome.
async fn attack(bench: &Bench, blender: &Blender, name: &str) -> Result<String, ConversionError> {
    let job = bench.job(name);
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
    fn new(bench: &Bench) -> Bait {
        let home = tempfile::tempdir().unwrap();
        let secret = home.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = home.path().join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        let name = format!("meshgate-hostile-{}", std::process::id());
        let named = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let other = bench.job("model");
        let job = bench.job("escape");
        let orders = serde_json::json!({
            "supervisor": std::process::id(),
            "home": home.path(),
            "secret": secret,
            "other": other.folder.path(),
            // Cargo gives it to every test: as good a secret as any.
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
    let bench = hostile();
    let blender = bench.start().await;
    assert_eq!(blender.sandbox_missing(), [""; 0]);
    let bait = Bait::new(&bench);
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
    let mut bench = hostile();
    bench.settings.sandbox = SandboxMode::Off;
    let blender = bench.start().await;
    let bait = Bait::new(&bench);
    let job = bench.job("harmless");
    let orders = bait.job.folder.input().join("orders.json");
    std::fs::copy(orders, job.folder.input().join("orders.json")).unwrap();
    job.run(&blender, LONG).await.unwrap();
    let done: Vec<String> = serde_json::from_slice(&std::fs::read(job.result()).unwrap()).unwrap();
    for name in
        ["read /etc/passwd", "connect by TCP", "connect to a Unix socket", "connect to an abstract socket"]
    {
        assert!(done.iter().any(|done| done == name), "{name} is no attempt: {done:?}");
    }
    assert!(done.iter().any(|done| done.ends_with("/environ")), "{done:?}");
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_while_others_convert() {
    let mut bench = hostile();
    bench.settings.memory_bytes = 2 << 30;
    bench.settings.file_bytes = 50 << 20;
    bench.settings.cpu_seconds = Some(3);
    bench.settings.workers = 2;
    let blender = bench.start().await;
    for (name, code) in [
        ("allocate", ErrorCode::MemoryLimit),
        ("write", ErrorCode::OutputTooLarge),
        ("write_many", ErrorCode::OutputTooLarge),
        ("write_many_and_end", ErrorCode::OutputTooLarge),
        ("write_and_remove", ErrorCode::OutputTooLarge),
        ("burn", ErrorCode::Timeout),
        ("threads", ErrorCode::EngineCrashed),
    ] {
        let (ended, other) = tokio::join!(attack(&bench, &blender, name), attack(&bench, &blender, "flood"));
        assert_eq!(ended.unwrap_err().code, code, "{name}");
        assert_eq!(other.unwrap(), "[]", "beside {name}");
    }
    assert_eq!(attack(&bench, &blender, "write_enough").await.unwrap(), "[]");
    assert!(blender.stats().attempt_failures.is_empty(), "{:?}", blender.stats());
    blender.shutdown().await;
    until("its folder is gone", LONG, || bench.folders() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_hostile_child_are_refused_and_removed() {
    let bench = hostile();
    let blender = bench.start().await;
    for (name, code) in [
        ("many_files", ErrorCode::OutputTooLarge),
        ("deep", ErrorCode::OutputTooLarge),
        ("finish_early", ErrorCode::EngineCrashed),
        ("huge_report", ErrorCode::EngineCrashed),
        ("folder_report", ErrorCode::EngineCrashed),
    ] {
        let error = attack(&bench, &blender, name).await.unwrap_err();
        assert_eq!(error.code, code, "{name}: {error}");
        until("its folder is gone", LONG, || bench.folders() == 0).await;
    }
    assert_eq!(attack(&bench, &blender, "flood").await.unwrap(), "[]");
    blender.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zygote_killed_under_load_costs_no_conversion() {
    let mut bench = Bench::new();
    bench.settings.workers = 4;
    let blender = bench.start().await;
    let jobs: Vec<Job> = (0..4).map(|_| bench.job("wait")).collect();
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
