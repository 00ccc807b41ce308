//! Jobs against a scripted API server.

mod access;
mod cluster;
mod create;
mod manifest;
mod outcome;
pub mod samples;
mod server;
mod tracking;
mod watch;
