//! What performs a conversion: Blender, or the native lane.

pub mod blender;
pub mod native;
mod stragglers;
pub mod workdir;
