//! What `meshgate serve`, `meshgate worker` and `meshgate run-job` share.
//!
//! ```text
//!  setup       settings, mistakes, warnings
//!  process     runtime, log, signals                        ┐
//!  parts       connections, queue of jobs, converter        │ started in this order,
//!  listeners   addresses for probes and metrics             │ and stopped in the opposite one
//!  background  engine, jobs, webhooks, maintenance          ┘  (not in the pod of one job)
//! ```

pub mod background;
mod container_memory;
pub mod listeners;
pub mod parts;
pub mod process;
pub mod setup;
mod warnings;
