//! The different statements of a text that refer to files, and what takes their place, in bounded memory.

use std::io::{self, Write};

use indexmap::IndexMap;

use super::{TOO_MANY, too_large};
use crate::domain::ConversionError;
use crate::intake::model_files::Files;

/// Most bytes of all different statements of a text, and of all that takes their place. In a library of 20,000 textures
/// they are about 2 MB.
const MAX_BYTES: usize = 16 << 20;

/// Statements in the order in which they were found, each once.
pub struct Statements {
    found: IndexMap<Vec<u8>, Change>,
    most: usize,
    /// Bytes that are left for statements, and then for changes.
    room: usize,
}

/// What becomes of a statement: it stays, or these bytes take its place.
pub type Change = Option<Vec<u8>>;

impl Statements {
    /// Room for `most` of them.
    pub fn new(most: usize) -> Self {
        Self { found: IndexMap::new(), most, room: MAX_BYTES }
    }

    /// Adds one, unless it is known or beyond the bounds.
    pub fn note(&mut self, statement: &[u8]) {
        let Some(left) = self.room.checked_sub(statement.len()) else { return };
        if self.found.len() < self.most && !self.found.contains_key(statement) {
            self.found.insert(statement.to_owned(), None);
            self.room = left;
        }
    }

    /// Asks what becomes of each; answers whether any of them changes.
    ///
    /// # Errors
    /// What `resolve` says, `too_large`, `cancelled`.
    pub fn resolve(
        &mut self,
        files: &mut Files,
        mut resolve: impl FnMut(&mut Files, &[u8]) -> Result<Change, ConversionError>,
    ) -> Result<bool, ConversionError> {
        self.room = MAX_BYTES;
        let mut any = false;
        for (statement, change) in &mut self.found {
            files.count_looks(1)?;
            *change = resolve(files, statement)?;
            let bytes = change.as_ref().map_or(0, Vec::len);
            self.room = self.room.checked_sub(bytes).ok_or_else(|| too_large(TOO_MANY))?;
            any |= change.is_some();
        }
        Ok(any)
    }

    /// Writes what becomes of a statement, `unknown` for one that was beyond the bounds.
    pub fn write(&self, statement: &[u8], unknown: &[u8], writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(match self.found.get(statement) {
            Some(None) => statement,
            Some(Some(change)) => change,
            None => unknown,
        })
    }
}
