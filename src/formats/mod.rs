//! Readers of file formats that several rooms use.

pub mod blend;
pub mod gltf;
pub mod mtl;
pub mod number;
pub mod text;
