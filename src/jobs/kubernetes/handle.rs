//! The heavy jobs of a process.

use std::sync::Arc;

use uuid::Uuid;

use super::board::Board;
use super::policy::HeavyPolicy;
use crate::executor::kubernetes::{Kubernetes, States};
use crate::jobs::queue::Queue;
use crate::jobs::service::Jobs;
use crate::metrics::KubernetesMetrics;

/// Creates Kubernetes Jobs for heavy jobs, and follows those of all processes. Clones share everything.
#[derive(Clone)]
pub struct KubernetesJobs {
    pub(super) kubernetes: Kubernetes,
    pub(super) policy: Arc<HeavyPolicy>,
    pub(super) metrics: Arc<KubernetesMetrics>,
    pub(super) board: Arc<Board>,
    jobs: Jobs,
}

impl KubernetesJobs {
    pub fn new(kubernetes: Kubernetes, policy: HeavyPolicy, jobs: Jobs, metrics: KubernetesMetrics) -> Self {
        Self { kubernetes, policy: Arc::new(policy), metrics: Arc::new(metrics), board: Arc::default(), jobs }
    }

    pub fn policy(&self) -> &HeavyPolicy {
        &self.policy
    }

    /// The number of Kubernetes Jobs in each state.
    pub fn states(&self) -> [(&'static str, u64); 4] {
        let States { pending, running, succeeded, failed } = self.kubernetes.states();
        [("pending", pending), ("running", running), ("succeeded", succeeded), ("failed", failed)]
            .map(|(state, count)| (state, count as u64))
    }

    pub(super) fn queue(&self) -> &dyn Queue {
        &**self.jobs.queue()
    }

    /// Deletes the Kubernetes Job of a job, and with it the pod. Failures are in the log; whoever follows it deletes it
    /// again.
    pub(super) async fn delete(&self, job: Uuid) {
        self.board.deleted(job);
        if let Err(error) = self.kubernetes.delete(job).await {
            tracing::warn!(%job, %error, "the Kubernetes Job of a job that nobody wants was not deleted");
        }
    }
}
