//! The limits of one model: bytes, references, names.

use super::Files;
use crate::domain::{ConversionError, ErrorCode};
use crate::intake::source::Limits;

/// Most bytes of the names of all files together.
pub const MAX_NAMES: usize = 1 << 20;

/// Most folders of all files together, counted for each file separately: making and removing folders takes longer than
/// files.
const MAX_FOLDERS: usize = 20_000;

/// Most steps of resolving references: one for each statement, for each reference, for each file that it may mean, and
/// for each name that is found in a binary file.
const MAX_STEPS: usize = 1_000_000;

/// Most hard links that are made at paths of references, and folders for them.
const MAX_LINKS: usize = 8000;

/// The rest of the limits of one model.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes that may be unpacked to find references in packed files.
    unpacking: u64,
    /// Number of bytes by which files have grown since they were sent.
    grown: u64,
    steps: usize,
    links: usize,
    /// Bytes of names.
    names: usize,
    folders: usize,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self {
            unpacking: limits.max_unpacked,
            grown: 0,
            steps: MAX_STEPS,
            links: MAX_LINKS,
            names: MAX_NAMES,
            folders: MAX_FOLDERS,
        }
    }
}

impl Files {
    /// Checks that another file of `bytes` fits within the limits.
    ///
    /// # Errors
    /// `too_large`
    pub fn room_for(&self, bytes: u64) -> Result<(), ConversionError> {
        let (files, _) = self.totals();
        if files as usize >= self.limits.max_entries {
            return Err(ConversionError::new(
                ErrorCode::TooLarge,
                format!("the model has more than {} files", self.limits.max_entries),
            ));
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

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Counts the name and the folders of a file that is about to be created.
    ///
    /// # Errors
    /// `too_large`
    pub(super) fn count_name(&mut self, name: &[&str]) -> Result<(), ConversionError> {
        let length = name.iter().map(|part| part.len() + 1).sum();
        self.budget.names = self.budget.names.checked_sub(length).ok_or_else(|| {
            let detail = "the names of the model's files are longer than 1 MiB together";
            ConversionError::new(ErrorCode::TooLarge, detail)
        })?;
        self.budget.folders =
            self.budget.folders.checked_sub(name.len().saturating_sub(1)).ok_or_else(|| {
                let detail = format!("the model's files are in more than {MAX_FOLDERS} folders");
                ConversionError::new(ErrorCode::TooLarge, detail)
            })?;
        Ok(())
    }

    /// Number of bytes that may still be unpacked to find references; all packed files of the model share it.
    pub fn unpacking_left(&mut self) -> &mut u64 {
        &mut self.budget.unpacking
    }

    /// Counts steps of resolving references before they are taken.
    ///
    /// # Errors
    /// `too_large` when no honest model needs as many, `cancelled`.
    pub fn count_steps(&mut self, steps: usize) -> Result<(), ConversionError> {
        self.context.cancel.check()?;
        self.budget.steps = self.budget.steps.checked_sub(steps).ok_or_else(|| {
            let detail = "the model refers to other files too often, or to too many of one name";
            ConversionError::new(ErrorCode::TooLarge, detail)
        })?;
        Ok(())
    }

    /// Whether another hard link may be made at a path of so many `parts`; counts it.
    pub fn may_link(&mut self, parts: usize) -> bool {
        let left = self.budget.links.checked_sub(parts);
        self.budget.links = left.unwrap_or(0);
        left.is_some()
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
