//! What the pipeline returns.

use std::path::PathBuf;

use crate::domain::Report;
use crate::executor::workdir::ConversionFolder;
use crate::fs::open::Memory;

/// A finished conversion.
#[derive(Debug)]
pub struct FinishedConversion {
    pub report: Report,
    /// Holds the result's files; removed with its last clone.
    pub folder: ConversionFolder,
    /// Absolute paths below `folder.output()`; the first is the main file, or the only one: the zip.
    pub files: Vec<PathBuf>,
    /// The only file, if it is in memory. Its path is valid as long as this is held.
    pub memory: Option<Memory>,
    /// The model's name without an extension.
    pub stem: String,
}
