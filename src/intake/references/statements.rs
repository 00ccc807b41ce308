//! The different statements of a text that refer to files, and their replacements, in bounded memory.

use std::io::{self, Write};

use indexmap::IndexMap;

use super::findings::{TOO_MANY, too_large};
use crate::domain::ConversionError;
use crate::intake::model_files::Files;

/// Most bytes of all different statements of a text, and of all replacements. A library of 20,000 textures has about
/// 2 MB.
const MAX_BYTES: usize = 16 << 20;

/// Statements in the order in which they were found, each once.
pub struct Statements {
    found: IndexMap<Vec<u8>, Replacement>,
    most: usize,
    /// Number of bytes left for statements, and then for replacements.
    room: usize,
}

/// The replacement of a statement; `None` if it stays.
pub type Replacement = Option<Vec<u8>>;

impl Statements {
    /// Makes room for `most` statements.
    pub fn new(most: usize) -> Self {
        Self { found: IndexMap::new(), most, room: MAX_BYTES }
    }

    /// Adds a statement, unless it is known or exceeds the limits.
    pub fn note(&mut self, statement: &[u8]) {
        let Some(left) = self.room.checked_sub(statement.len()) else { return };
        if self.found.len() < self.most && !self.found.contains_key(statement) {
            self.found.insert(statement.to_owned(), None);
            self.room = left;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Calls `resolve` for the replacement of each statement; returns whether any of them changes.
    ///
    /// # Errors
    /// The errors of `resolve`, `too_large`, `cancelled`.
    pub fn resolve(
        &mut self,
        files: &mut Files,
        mut resolve: impl FnMut(&mut Files, &[u8]) -> Result<Replacement, ConversionError>,
    ) -> Result<bool, ConversionError> {
        self.room = MAX_BYTES;
        let mut any = false;
        for (statement, change) in &mut self.found {
            files.count_steps(1)?;
            *change = resolve(files, statement)?;
            let bytes = change.as_ref().map_or(0, Vec::len);
            self.room = self.room.checked_sub(bytes).ok_or_else(|| too_large(TOO_MANY))?;
            any |= change.is_some();
        }
        Ok(any)
    }

    /// Writes a statement or its replacement; `unknown` if it exceeded the limits.
    pub fn write(&self, statement: &[u8], unknown: &[u8], writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(match self.found.get(statement) {
            Some(None) => statement,
            Some(Some(change)) => change,
            None => unknown,
        })
    }
}
