//! Jobs of synchronous requests: each is removed once nobody waits for it any more.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::service::Jobs;

/// First and longest pause before a job is removed again, if the queue did not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How long removing a job is tried.
const TRIED_FOR: Duration = Duration::from_mins(1);

/// How long a process waits at its end for jobs that are being removed.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Removes its job when it is dropped, in the background. A worker that runs the job loses its lease at once if a hint
/// reaches it, else when it renews the lease, and cancels the conversion.
pub struct AwaitedJob {
    jobs: Jobs,
    id: Uuid,
    is_kept: bool,
}

impl AwaitedJob {
    pub fn new(jobs: Jobs, id: Uuid) -> Self {
        Self { jobs, id, is_kept: false }
    }

    /// Leaves the job to its lifetime: its result is still needed.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for AwaitedJob {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // There is none only while the process ends.
        if let Ok(runtime) = Handle::try_current() {
            let removal = remove(self.jobs.clone(), self.id).in_current_span();
            self.jobs.removals.spawn_on(removal, &runtime);
        }
    }
}

impl Jobs {
    /// Waits until the jobs of requests that have ended are removed, for a moment at most.
    pub async fn finish_removals(&self) {
        self.removals.close();
        if timeout(FINISH_WITHIN, self.removals.wait()).await.is_err() {
            tracing::warn!("some jobs of requests could not be removed; they are removed after JOBS_TTL");
        }
    }
}

async fn remove(jobs: Jobs, id: Uuid) {
    let mut pause = FIRST_PAUSE;
    let tries = async {
        while let Err(error) = jobs.remove(id).await {
            tracing::debug!(job = %id, %error, "the job of a request could not be removed; trying again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    if timeout(TRIED_FOR, tries).await.is_err() {
        tracing::warn!(job = %id, "the job of a request could not be removed; it is removed after JOBS_TTL");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config;
    use crate::domain::Client;
    use crate::jobs::job::JobSpec;
    use crate::jobs::queue::{Limits, NewJob, Queue};
    use crate::jobs::sqlite::SqliteQueue;
    use crate::storage::Storage;

    fn jobs_in(folder: &Path) -> Jobs {
        let limits = Limits {
            jobs: 10,
            client_jobs: 10,
            bytes: 1 << 20,
            client_bytes: 1 << 20,
            ttl: Duration::from_hours(1),
        };
        let queue: Arc<dyn Queue> = Arc::new(SqliteQueue::open(&folder.join("jobs.sqlite"), limits).unwrap());
        let stored = config::Storage {
            location: None,
            ttl: Duration::from_hours(1),
            max_bytes: 1 << 20,
            presign: false,
        };
        let storage = Storage::open(&stored, &folder.join("store")).unwrap();
        Jobs::new(queue, storage, folder.to_owned(), limits)
    }

    #[tokio::test]
    async fn a_job_is_removed_when_nobody_awaits_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = jobs_in(folder.path());
        let [dropped, kept] = [Uuid::now_v7(), Uuid::now_v7()];
        for id in [dropped, kept] {
            let spec = JobSpec::sample(Client::Local);
            jobs.queue().submit(NewJob { id, spec, idempotency: None }).await.unwrap();
        }
        let awaited = AwaitedJob::new(jobs.clone(), dropped);
        AwaitedJob::new(jobs.clone(), kept).keep();
        assert!(jobs.queue().job(dropped).await.unwrap().is_some());
        drop(awaited);
        jobs.finish_removals().await;
        assert_eq!(jobs.queue().job(dropped).await.unwrap(), None);
        assert!(jobs.queue().job(kept).await.unwrap().is_some());
    }
}
