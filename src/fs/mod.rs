//! File operations: opening without following links, files in memory, zips, removing folders.

pub mod names;
pub mod open;
pub mod remove_tree;
pub mod zip;
