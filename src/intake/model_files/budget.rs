//! The limits of one model: bytes, references, names.

use crate::domain::{ConversionError, ErrorCode};

/// Most bytes of the names of all files together.
pub const MAX_NAME_BYTES: usize = 1 << 20;

/// Most folders of all files together, counted for each file separately: making and removing folders takes longer than
/// files.
const MAX_FOLDERS: usize = 20_000;

/// Most steps of resolving references: one for each statement, for each reference, for each file that it may mean, and
/// for each name that is found in a binary file.
const MAX_STEPS: usize = 1_000_000;

/// Most hard links that are made at paths of references, and folders for them.
const MAX_LINKS: usize = 8000;

/// What one model has used of its limits.
#[derive(Debug, Default)]
pub struct Budget {
    /// Number of bytes by which files have grown since they were sent.
    grown: u64,
    steps: usize,
    links: usize,
    /// Bytes of names.
    names: usize,
    folders: usize,
}

pub fn too_large(detail: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::TooLarge, detail)
}

impl Budget {
    /// Number of bytes by which files have grown since they were sent.
    pub fn grown(&self) -> u64 {
        self.grown
    }

    /// Counts bytes by which a file grows.
    pub fn grow(&mut self, bytes: u64) {
        self.grown += bytes;
    }

    /// Counts the name and the folders of a file that is about to be created.
    ///
    /// # Errors
    /// `too_large`
    pub fn count_name(&mut self, name: &[&str]) -> Result<(), ConversionError> {
        self.names += name.iter().map(|part| part.len() + 1).sum::<usize>();
        if self.names > MAX_NAME_BYTES {
            return Err(too_large("the names of the model's files are longer than 1 MiB together"));
        }
        self.folders += name.len().saturating_sub(1);
        if self.folders > MAX_FOLDERS {
            return Err(too_large(format!("the model's files are in more than {MAX_FOLDERS} folders")));
        }
        Ok(())
    }

    /// Counts steps of resolving references before they are taken.
    ///
    /// # Errors
    /// `too_large` when no honest model needs as many.
    pub fn count_steps(&mut self, steps: usize) -> Result<(), ConversionError> {
        if steps > MAX_STEPS - self.steps {
            return Err(too_large("the model refers to other files too often, or to too many of one name"));
        }
        self.steps += steps;
        Ok(())
    }

    /// Whether another hard link may be made at a path of so many `parts`; counts it.
    pub fn may_link(&mut self, parts: usize) -> bool {
        self.links += parts;
        self.links <= MAX_LINKS
    }
}
