//! A census: what can be told of a model before it is converted.

use serde::{Deserialize, Serialize};

use super::Format;

/// What a model holds, as far as it can be counted without reading all of it. What cannot be counted is 0 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// Size of all files together, in bytes. Files in a zip count unpacked.
    pub bytes: u64,
    /// Triangles, of files that announce them.
    pub triangles: u64,
    /// Bytes of the files whose triangles and motion are not counted, since only Blender reads their format.
    pub uncounted_bytes: u64,
    /// The format of the largest of those files, if its name tells it.
    pub uncounted_format: Option<Format>,
    /// Pixels of all images together.
    pub texture_pixels: u64,
    /// Frames of all clips together, counted for each channel that moves: a bone that turns and moves for 100 frames
    /// counts 200.
    pub frames: u64,
}
