//! What carries out a conversion that needs Blender, and the folders in which it does.

pub mod local;
mod orphans;
pub mod workdir;
