//! The store of results: one suite for folders and buckets, and tests of each.

pub mod backend;
mod bucket;
mod disks;
mod doctor;
mod folder;
mod maintenance;
mod memory;
mod serve;
pub mod server;
mod suite;
