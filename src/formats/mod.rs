//! What several rooms know of file formats.

pub mod blend;
pub mod gltf;
pub mod text;
