//! Counts the contents of a file without Blender and without holding the file in memory.
//!
//! The readers are our own because crates for OBJ, STL and PLY hold whole files and the crate for glTF trusts indices.
//! A truncated or damaged file is an error, never a panic or an endless loop: the size of the file bounds the work.
//!
//! Bounds are y up, in metres. STL and PLY are read as z up, as Blender does by default; numbers without a unit are
//! metres.

mod bvh;
mod census;
mod extent;
mod frame_rate;
mod gltf;
mod image_size;
mod lines;
mod obj;
mod ply;
mod reader;
mod stl;

use std::path::Path;

use crate::context::Context;
use crate::domain::report::Counts;
use crate::domain::{ConversionError, ErrorCode, Format};
use crate::formats::gltf::asset::Asset;

pub use census::census;
pub use gltf::inspect_source;

/// Whether [`inspect`] reads files of `format`.
pub fn can_inspect(format: Format) -> bool {
    format.is_gltf_family() || matches!(format, Format::Obj | Format::Stl | Format::Ply | Format::Bvh)
}

/// Counts the contents of the file at `path`; files that it refers to are searched for beside it.
///
/// # Errors
/// `import_failed` when it is not a valid file of this format, `missing_files` when a file with geometry is missing,
/// `internal` for a format that only Blender can read.
pub fn inspect(path: &Path, format: Format, context: &Context) -> Result<Counts, ConversionError> {
    let cancel = &context.cancel;
    match format {
        _ if format.is_gltf_family() => gltf::inspect_source(&Asset::open(path, context)?),
        Format::Obj => obj::inspect(path, cancel),
        Format::Stl => stl::inspect(path, cancel),
        Format::Ply => ply::inspect(path, cancel),
        Format::Bvh => bvh::inspect(path, cancel),
        _ => Err(ConversionError::new(ErrorCode::Internal, format!("no reader counts {format} files"))),
    }
}

#[cfg(test)]
mod tests;
