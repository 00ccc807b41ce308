//! Heavy jobs: each runs in a Kubernetes Job with memory of its own.
//!
//! ```text
//!            take              create                    pod: run-job
//!   queue ─────────▶ worker ───────────▶ Kubernetes Job ──────────────▶ reads the claim, runs the attempt, ends the job
//!     ▲              parks the job,            │
//!     │              holds no slot             │ changes
//!     └── renew each second, end, give back ── followers, in every worker process
//! ```
//!
//! - **Nobody is elected.** Every worker process follows all Kubernetes Jobs. What a follower does to a job is fenced by
//!   the token of its claim, so that it makes no difference how many of them do it.
//! - **The pod and the followers hold a job together:** with the same token. The followers keep the lease while the pod
//!   waits for a node, or was lost and is made again. The pod alone stores a result.
//! - **A pod begins only what is said to be waiting for it:** a claim whose progress is [`Stage::Scheduling`]. So it never
//!   runs a job beside a worker, or beside the pod before it.
//! - **Ends that the pod could not record** become steps of the queue (`reaction.rs`).
//!
//! [`Stage::Scheduling`]: crate::domain::Stage::Scheduling

mod board;
mod dispatch;
mod follow;
mod handle;
mod pod;
mod policy;
mod progress;
mod reaction;

#[cfg(test)]
mod tests;

pub use handle::KubernetesJobs;
pub use pod::{PodEnd, run_in_pod};
pub use policy::HeavyPolicy;
