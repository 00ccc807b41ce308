//! What performs a conversion: Blender, or the native lane.

pub mod blender;
pub mod native;
mod remove;
pub mod workdir;
