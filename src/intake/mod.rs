//! A model on its way in: where its files come from.

use std::path::PathBuf;

/// What a conversion reads.
#[derive(Debug, Clone)]
pub enum Source {
    /// One file (or zip); what it refers to is looked for beside it.
    FileWithSiblings(PathBuf),
    /// A folder that holds exactly one model.
    Folder(PathBuf),
}
