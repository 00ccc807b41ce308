//! The files around a file of the user's own.

use std::path::Path;
use std::sync::Arc;

use walkdir::WalkDir;

use super::archive;
use super::files::Files;
use crate::open::{Located, Root, folder_of};

/// Files that may lie around a file of the user's own; more are not looked at.
const MAX_SIBLINGS: usize = 4000;

/// Makes the files in the folder of `path`, which is opened as `root`, known, two levels deep; links are passed by.
pub fn offer(path: &Path, root: &Arc<Root>, files: &mut Files) {
    let folder = folder_of(path);
    let walk = WalkDir::new(folder).min_depth(1).max_depth(3).sort_by_file_name();
    for entry in walk.into_iter().filter_map(Result::ok).take(MAX_SIBLINGS) {
        let inside = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        let relative = inside.to_string_lossy().into_owned();
        let parts: Vec<&str> = relative.split('/').filter(|part| !part.is_empty()).collect();
        let is_main = parts.len() == 1 && entry.path().file_name() == path.file_name();
        if entry.file_type().is_file() && !is_main && !archive::is_junk(&parts) {
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            files.offer(Located::new(root, inside.to_owned()), &parts, bytes);
        }
    }
}
