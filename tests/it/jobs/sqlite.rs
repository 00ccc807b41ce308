//! The queue in SQLite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshgate::jobs::{Limits, SqliteQueue};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::side::{AnyQueue, Side};

/// A database in its own folder.
pub struct SqliteSide(TempDir);

impl SqliteSide {
    pub fn start() -> SqliteSide {
        // In memory if possible, because each step waits for the disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        SqliteSide(folder.unwrap())
    }
}

impl Side for SqliteSide {
    async fn open_with(&self, limits: Limits, lease: Duration) -> AnyQueue {
        let path = self.0.path().join("jobs.sqlite");
        let queue = spawn_blocking(move || SqliteQueue::open_with_lease(&path, limits, lease)).await;
        Arc::new(queue.unwrap().unwrap())
    }
}

#[test]
fn random_steps_match_the_model() {
    super::model::compare(64, SqliteSide::start);
}
