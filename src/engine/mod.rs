//! What performs a conversion: Blender, or the native lane.

pub mod blender;
mod stragglers;
pub mod workdir;
