//! Finds the file of a model that a reference means.

use percent_encoding::percent_decode_str;

use super::Files;
use crate::domain::ConversionError;
use crate::fs::names;

/// Most files of one name that are compared with a reference.
const MAX_LIKELY: usize = 64;

/// The meaning of a reference.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The file at this index.
    Found(usize),
    /// A path inside the model where no file is.
    Missing,
    /// A path outside the model, which is never examined.
    Outside,
}

/// All files that a reference may mean.
#[derive(Debug)]
pub enum Candidates {
    /// The file at this index has the path.
    Exactly(usize),
    /// These files share the longest path suffix with the reference; there is at least one.
    Likely(Vec<usize>),
    Missing,
    Outside,
}

impl Files {
    /// Finds the file that `reference` means in the file at `from`.
    ///
    /// The exact path wins, then the same path in another case, then the file of that name that shares the longest path
    /// suffix: references come from other machines and folders. Some are percent-encoded.
    ///
    /// # Errors
    /// As [`Files::count_steps`].
    pub fn resolve(&mut self, from: usize, reference: &str) -> Result<Resolved, ConversionError> {
        Ok(match self.find(from, reference)? {
            Candidates::Exactly(index) => Resolved::Found(index),
            Candidates::Likely(found) => {
                found.first().map_or(Resolved::Missing, |index| Resolved::Found(*index))
            }
            Candidates::Missing => Resolved::Missing,
            Candidates::Outside => Resolved::Outside,
        })
    }

    /// As [`Files::resolve`], but returns all equally likely files.
    pub fn find(&mut self, from: usize, reference: &str) -> Result<Candidates, ConversionError> {
        match self.find_written(from, reference)? {
            Candidates::Missing if reference.contains('%') => {
                self.find_written(from, &percent_decode_str(reference).decode_utf8_lossy())
            }
            found => Ok(found),
        }
    }

    fn find_written(&mut self, from: usize, reference: &str) -> Result<Candidates, ConversionError> {
        self.count_steps(1)?;
        let base = self.name(from).rsplit_once('/').map_or("", |(folder, _)| folder);
        let joined = if base.is_empty() { reference.to_owned() } else { format!("{base}/{reference}") };
        let inside =
            is_relative(reference).then(|| names::components(&joined).map(|parts| parts.join("/"))).flatten();
        if let Some(path) = &inside {
            let same = self.by_path.get(&path.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
            let exact = same.iter().find(|index| self.name(**index) == path);
            if let Some(index) = exact.or(same.first()) {
                return Ok(Candidates::Exactly(*index));
            }
        }
        let wanted: Vec<String> = reference.rsplit(['/', '\\']).map(str::to_lowercase).collect();
        let is_url = reference.contains("://") && !reference.to_ascii_lowercase().starts_with("file:");
        let same_name = wanted.first().filter(|_| !is_url).and_then(|name| self.by_base.get(name));
        let Some(same_name) = same_name.filter(|found| !found.is_empty()) else {
            return Ok(if inside.is_some() { Candidates::Missing } else { Candidates::Outside });
        };
        let likely: Vec<usize> = same_name.iter().copied().take(MAX_LIKELY).collect();
        self.count_steps(likely.len())?;
        let shared: Vec<usize> = likely.iter().map(|index| self.shared_suffix(*index, &wanted)).collect();
        let most = shared.iter().max().copied().unwrap_or_default();
        let longest = likely.into_iter().zip(shared).filter(|(_, shared)| *shared == most);
        Ok(Candidates::Likely(longest.map(|(index, _)| index).collect()))
    }

    /// Number of components at the end of the file's path that are those of the reference.
    fn shared_suffix(&self, index: usize, wanted: &[String]) -> usize {
        self.name(index)
            .rsplit('/')
            .zip(wanted)
            .take_while(|(part, want)| part.to_lowercase() == **want)
            .count()
    }
}

/// Whether a path is relative. One with `..` counts: whether it stays inside depends on the file that refers to it.
fn is_relative(reference: &str) -> bool {
    !reference.starts_with(['/', '\\']) && !names::has_scheme_or_drive(reference) && !reference.contains('\0')
}
