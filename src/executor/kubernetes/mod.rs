//! Kubernetes Jobs: conversions that are too heavy for a worker, each in a pod with memory of its own.
//!
//! ```text
//!                        census ──▶ sizing ──▶ manifest
//!                                                 │
//!  create, delete ──▶ cluster ──▶ client ──▶ API server ──▶ watcher ──▶ outcome ──▶ tracker ──▶ changes
//!                                                 │
//!                                             scheduler ──▶ pod: meshgate run-job
//! ```
//!
//! - **One Job for each job.** Its name follows from the job's ID, so that creating it twice does no harm: the second
//!   time, it is taken up.
//! - **The cluster is the truth.** Nothing is kept here that a restarted process could not read again. Any number of
//!   processes may watch the same Jobs.
//! - **This room knows Kubernetes** and nothing of queues: what follows from an outcome is decided elsewhere.

mod access;
mod backoff;
mod client;
mod cluster;
mod error;
mod manifest;
mod outcome;
mod settings;
pub mod sizing;
mod tracker;
mod watcher;

#[cfg(test)]
mod tests;

pub use access::{Access, NEEDED};
pub use cluster::{Created, Kubernetes};
pub use error::{Error, Trouble};
pub use manifest::{MODELS_FAULT, PodRequest};
pub use outcome::{Outcome, Phase};
pub use settings::{INSTANCE_LABEL, NAME_LABEL, Settings, read_template};
pub use sizing::{Size, SizeLimits};
pub use tracker::{Change, States};
