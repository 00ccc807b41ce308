//! What jobs survive: the rows of docs/DURABILITY.md, each on real processes.
//!
//! A cluster is what an operator runs: a gateway that converts nothing, workers, and the queue, either the file in
//! `DATA_DIR` or a Redis with an append-only file. Tests end its processes without warning, and then check that every
//! job that was acknowledged has ended once, with the bytes of an undisturbed conversion, that its webhook arrived, and
//! that nothing is left.

mod check;
mod cluster;
mod outages;
mod processes;
mod random;
mod transitions;
mod trap;

pub use cluster::{Cluster, Queue};
