//! Reads files so that the work can be cancelled.

use std::fs::File;
use std::io::{self, BufReader};

use crate::domain::{Cancel, Cancellable, ConversionError};
use crate::formats::gltf::malformed;

pub type CancellableFile = BufReader<Cancellable<File>>;

pub fn buffered(file: File, cancel: &Cancel) -> CancellableFile {
    BufReader::with_capacity(1 << 16, cancel.reader(file))
}

/// The error of reading a file: the file is to blame when it ends early or is damaged.
#[allow(clippy::needless_pass_by_value)] // the signature of `map_err`
pub fn reading(error: io::Error) -> ConversionError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("the file is truncated"),
        io::ErrorKind::InvalidData => malformed(format!("the file is damaged: {error}")),
        _ => ConversionError::io("read the file", &error),
    }
}

/// Reads three little-endian floats; missing bytes count as 0.
pub fn three_floats(bytes: &[u8]) -> [f64; 3] {
    [bytes.get(..4), bytes.get(4..8), bytes.get(8..12)].map(|bytes| {
        let four = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        f64::from(f32::from_le_bytes(four))
    })
}
