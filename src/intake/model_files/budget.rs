//! What one model may still take: bytes, references, names.

use super::Files;
use crate::domain::{ConversionError, ErrorCode};
use crate::intake::source::Limits;

/// Most bytes of the names of all files together.
pub const MAX_NAMES: usize = 1 << 20;

/// Most folders of all files together, each file's own counted for itself: making and removing them takes longer than
/// the files.
const MAX_FOLDERS: usize = 20_000;

/// Most looks at what references mean: one for each statement and each reference, for each file that it may mean, and for
/// each name found in a binary file.
const MAX_LOOKS: usize = 1_000_000;

/// Most second names that are made for files where references lead to, and folders for them.
const MAX_PLACED: usize = 8000;

/// What is left of the bounds of one model.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes that may be unpacked to look into packed files.
    unpacking: u64,
    /// By how many bytes files have grown since they came.
    grown: u64,
    looks: usize,
    placing: usize,
    /// Bytes of names.
    names: usize,
    folders: usize,
}

impl Budget {
    pub fn of(limits: Limits) -> Self {
        Self {
            unpacking: limits.max_unpacked,
            grown: 0,
            looks: MAX_LOOKS,
            placing: MAX_PLACED,
            names: MAX_NAMES,
            folders: MAX_FOLDERS,
        }
    }
}

impl Files {
    /// Checks that another file of `bytes` fits into the limits.
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

    /// How many more bytes the model's files may have.
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

    /// How many more bytes may be unpacked to look into this model's packed files: all of them share one limit.
    pub fn unpacking_left(&mut self) -> &mut u64 {
        &mut self.budget.unpacking
    }

    /// Counts looks at what a reference may mean, which are about to be taken.
    ///
    /// # Errors
    /// `too_large` where there are more of them than any model needs, `cancelled`.
    pub fn count_looks(&mut self, looks: usize) -> Result<(), ConversionError> {
        self.context.cancel.check()?;
        self.budget.looks = self.budget.looks.checked_sub(looks).ok_or_else(|| {
            let detail = "the model refers to other files too often, or to too many of one name";
            ConversionError::new(ErrorCode::TooLarge, detail)
        })?;
        Ok(())
    }

    /// Whether a file may get a second name at a path of so many parts; it is counted.
    pub fn may_place(&mut self, parts: usize) -> bool {
        let left = self.budget.placing.checked_sub(parts);
        self.budget.placing = left.unwrap_or(0);
        left.is_some()
    }

    /// Counts what a file has grown by, now that it has so many bytes: the model's size stays what was sent.
    pub fn count_rewritten(&mut self, index: usize, bytes: u64) {
        let before = self.items.get(index).map_or(0, |item| item.bytes);
        self.budget.grown += bytes.saturating_sub(before);
    }

    /// Counts another copy of `bytes` that is about to be made.
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
