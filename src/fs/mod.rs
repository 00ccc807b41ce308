//! Files as this program needs them: opened without following links, in memory, packed, removed.

pub mod blob;
pub mod names;
pub mod open;
pub mod remove_tree;
pub mod zip;
