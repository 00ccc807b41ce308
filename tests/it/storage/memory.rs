//! Storing and fetching a large result takes bounded memory.

use std::process::Command;

use meshgate::fs::blob::Blob;
use meshgate::storage::Stored;

use super::backend::Backend;

const BYTES: u64 = 128 << 20;

/// The memory limit in bytes: a few parts of 8 MiB, and the allocator's reserve.
const MOST: u64 = 64 << 20;

/// The peak memory of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a process of its own"]
async fn child_process_that_stores_a_large_result() {
    for backend in [Backend::bucket().await, Backend::folder()] {
        let storage = backend.open();
        let source = backend.source(b"");
        let file = std::fs::OpenOptions::new().write(true).open(&source).unwrap();
        file.set_len(BYTES).unwrap();
        let hash =
            blake3::Hasher::new().update_reader(std::fs::File::open(&source).unwrap()).unwrap().finalize();
        let before = peak();
        assert_eq!(storage.put_blob(Blob::open(&source).unwrap(), &hash).await.unwrap(), Stored::New);
        let fetched = storage.fetch(&hash, BYTES, backend.spool.path()).await.unwrap();
        assert!(matches!(fetched, Some(Blob::File(_, BYTES))));
        let used = peak() - before;
        assert!(used < MOST, "{used} bytes for a result of {BYTES}");
    }
}

#[test]
fn a_large_result_takes_little_memory() {
    let name = "storage::memory::child_process_that_stores_a_large_result";
    let mut tests = Command::new(std::env::current_exe().unwrap());
    let output = tests.args(["--exact", "--ignored", name]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
