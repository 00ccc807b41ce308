//! The limits of one model: bytes, references, names.

use super::Files;
use crate::domain::{ConversionError, ErrorCode};
use crate::intake::source::ModelLimits;

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
pub(super) struct Budget {
    /// Number of bytes by which files have grown since they were sent.
    grown: u64,
    steps: usize,
    links: usize,
    /// Bytes of names.
    names: usize,
    folders: usize,
}

fn too_large(detail: impl Into<String>) -> ConversionError {
    ConversionError::new(ErrorCode::TooLarge, detail)
}

impl Files {
    /// Checks that another file of `bytes` fits within the limits.
    ///
    /// # Errors
    /// `too_large`
    pub fn room_for(&self, bytes: u64) -> Result<(), ConversionError> {
        let (files, _) = self.totals();
        if files as usize >= self.limits.max_entries {
            return Err(too_large(format!("the model has more than {} files", self.limits.max_entries)));
        }
        if bytes > self.room_left() {
            return Err(self.limits.too_large());
        }
        Ok(())
    }

    /// Number of bytes by which the model's files may still grow.
    pub fn room_left(&self) -> u64 {
        self.limits.max_unpacked.saturating_sub(self.totals().1.saturating_add(self.budget.grown))
    }

    pub fn limits(&self) -> ModelLimits {
        self.limits
    }

    /// Counts the name and the folders of a file that is about to be created.
    ///
    /// # Errors
    /// `too_large`
    pub(super) fn count_name(&mut self, name: &[&str]) -> Result<(), ConversionError> {
        self.budget.names += name.iter().map(|part| part.len() + 1).sum::<usize>();
        if self.budget.names > MAX_NAME_BYTES {
            return Err(too_large("the names of the model's files are longer than 1 MiB together"));
        }
        self.budget.folders += name.len().saturating_sub(1);
        if self.budget.folders > MAX_FOLDERS {
            return Err(too_large(format!("the model's files are in more than {MAX_FOLDERS} folders")));
        }
        Ok(())
    }

    /// Number of bytes that may still be unpacked to find references; all compressed files of the model share it.
    pub fn unpacking_left(&mut self) -> &mut u64 {
        &mut self.unpacking_left
    }

    /// Counts steps of resolving references before they are taken.
    ///
    /// # Errors
    /// `too_large` when no honest model needs as many, `cancelled`.
    pub fn count_steps(&mut self, steps: usize) -> Result<(), ConversionError> {
        self.context.cancel.check()?;
        if steps > MAX_STEPS - self.budget.steps {
            return Err(too_large("the model refers to other files too often, or to too many of one name"));
        }
        self.budget.steps += steps;
        Ok(())
    }

    /// Whether another hard link may be made at a path of so many `parts`; counts it.
    pub fn may_link(&mut self, parts: usize) -> bool {
        self.budget.links += parts;
        self.budget.links <= MAX_LINKS
    }

    /// Counts the growth of a rewritten file that now has `bytes`; the reported size of the model stays what was sent.
    pub fn count_rewritten(&mut self, index: usize, bytes: u64) {
        let before = self.items.get(index).map_or(0, |item| item.bytes);
        self.budget.grown += bytes.saturating_sub(before);
    }

    /// Counts a copy of `bytes` before it is made.
    ///
    /// # Errors
    /// `too_large`
    pub fn count_copy(&mut self, bytes: u64) -> Result<(), ConversionError> {
        if bytes > self.room_left() {
            return Err(self.limits.too_large());
        }
        self.budget.grown += bytes;
        Ok(())
    }
}
