//! Converts files of the glTF family into each other without Blender and without losses.
//!
//! Buffers are copied and never decoded or held in memory. The JSON is edited as text, and only where it says where
//! bytes are.

mod convert;
mod size_limit;
mod to_glb;
mod to_gltf;

pub use convert::{can, glb_to_gltf, repack, repack_alone};
pub use size_limit::SizeLimit;

#[cfg(test)]
mod tests;
