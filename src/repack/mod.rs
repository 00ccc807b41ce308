//! Repacking: files of the glTF family become each other without Blender, and nothing in them is lost.
//!
//! Buffers are copied, not decoded; the JSON is edited as text where it says where the bytes are, and nowhere else.
//! No buffer is ever held in memory.

mod convert;
mod size_limit;
mod to_glb;
mod to_gltf;

pub use convert::{can, glb_to_gltf, repack, repack_alone};
pub use size_limit::SizeLimit;

#[cfg(test)]
mod tests;
