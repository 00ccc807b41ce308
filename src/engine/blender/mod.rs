//! Blender as the engine: a supervised zygote that forks one sandboxed child per conversion.

pub mod protocol;
pub mod sandbox;
