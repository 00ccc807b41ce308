//! Counts the contents of a file without Blender and without holding the file in memory.
//!
//! The readers are our own because crates for OBJ, STL and PLY hold whole files and the crate for glTF trusts indices.
//! A truncated or damaged file is an error, never a panic or an endless loop: the size of the file bounds the work.
//!
//! Bounds are y up, in metres. STL and PLY are read as z up, as Blender does by default; numbers without a unit are
//! metres.

mod bvh;
mod gltf;
mod lines;
mod obj;
mod ply;
mod stl;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use crate::context::Context;
use crate::domain::report::{Bounds, Counts};
use crate::domain::{Cancel, Cancellable, ConversionError, ErrorCode, Format};
use crate::formats::gltf::asset::Asset;
use crate::formats::gltf::malformed;

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

type CancellableFile = BufReader<Cancellable<File>>;

fn buffered(file: File, cancel: &Cancel) -> CancellableFile {
    BufReader::with_capacity(1 << 16, cancel.reader(file))
}

/// The error of reading a file: the file is to blame when it ends early or is damaged.
#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
fn reading(error: io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("the file is truncated"),
        io::ErrorKind::InvalidData => malformed(format!("the file is damaged: {error}")),
        _ => ConversionError::io("read the file", &error),
    }
}

/// Reads three little-endian floats; missing bytes count as 0.
fn three_floats(bytes: &[u8]) -> [f64; 3] {
    [bytes.get(..4), bytes.get(4..8), bytes.get(8..12)].map(|bytes| {
        let four = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        f64::from(f32::from_le_bytes(four))
    })
}

/// A bounding box that grows with every point.
#[derive(Debug, Default)]
struct Extent(Option<Bounds>);

impl Extent {
    /// Adds a point; ignores points that are not finite.
    fn add(&mut self, point: [f64; 3]) {
        if !point.iter().all(|value| value.is_finite()) {
            return;
        }
        // Turns -0 into 0.
        let point = point.map(|value| value + 0.0);
        let Bounds { min, max } = self.0.get_or_insert(Bounds { min: point, max: point });
        for (axis, value) in point.into_iter().enumerate() {
            min[axis] = min[axis].min(value);
            max[axis] = max[axis].max(value);
        }
    }

    /// Adds a point of a z-up format.
    fn add_z_up(&mut self, [x, y, z]: [f64; 3]) {
        self.add([x, z, -y]);
    }
}

/// Rounds frames per second, as writers round times: 23.9998 becomes 24, 23.976 stays.
fn tidy_fps(fps: f64) -> f64 {
    const NOISE: f64 = 2e-4;
    if !fps.is_finite() {
        return 0.0;
    }
    let whole = fps.round();
    if whole > 0.0 && ((fps - whole) / whole).abs() < NOISE { whole } else { (fps * 1000.0).round() / 1000.0 }
}

#[cfg(test)]
mod tests;
