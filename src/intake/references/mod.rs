//! Resolves references of a model's main file inside the model; other files are never opened.
//!
//! References in text and JSON are rewritten, in the conversion's copy, to relative paths of existing files. Binary
//! formats stay as they are; files that they name are put where the importer looks.

mod findings;
mod gltf;
mod gltf_checks;
mod obj;
mod rewrite;
mod scan;
mod statements;
mod usd;
mod usdc;

use std::collections::{HashMap, HashSet};

use super::model_files::Files;
use crate::domain::{ConversionError, ErrorCode, Format};
use crate::formats::blend;
use crate::fs::names;
pub use findings::Findings;

/// Resolves the references of the file at `index`.
///
/// # Errors
/// `missing_files` when geometry is missing, `import_failed` for an invalid file, `too_large`, `cancelled`, `io`.
pub fn resolve(files: &mut Files, index: usize, format: Format) -> Result<Findings, ConversionError> {
    let mut findings = Findings::default();
    if matches!(format, Format::Obj | Format::Usd | Format::Usda | Format::Usdc | Format::Fbx | Format::Blend)
    {
        files.offer_siblings();
    }
    match format {
        Format::Gltf | Format::Glb | Format::Vrm | Format::Vrma => {
            gltf::resolve(files, index, &mut findings)?;
        }
        Format::Obj => obj::resolve(files, index, &mut findings)?,
        Format::Usd | Format::Usda | Format::Usdc => usd::resolve(files, index, &mut findings)?,
        Format::Fbx => scan::resolve(files, index, true, &mut findings)?,
        Format::Blend => scan::resolve(files, index, false, &mut findings)?,
        // The others refer to no files.
        _ => {}
    }
    Ok(findings)
}

/// Most compressed candidates for the main file in which references are searched.
const MAX_UNPACKED: usize = 4;

/// Removes the candidates for the main file that another one refers to. If many are compressed, none of these is
/// unpacked, and the sender must name the main file.
///
/// # Errors
/// `cancelled`
pub fn drop_referenced(files: &mut Files, candidates: &mut Vec<usize>) -> Result<(), ConversionError> {
    let compressed = |index: usize| files.path(index).is_some_and(|path| blend::is_compressed(&path));
    let many = candidates.iter().filter(|index| compressed(**index)).count() > MAX_UNPACKED;
    let skipped: HashSet<usize> =
        candidates.iter().copied().filter(|index| many && compressed(*index)).collect();
    let base = |files: &Files, index: usize| names::base_name(files.name(index)).to_lowercase();
    let mut by_base: HashMap<String, Vec<usize>> = HashMap::new();
    for &candidate in candidates.iter() {
        by_base.entry(base(files, candidate)).or_default().push(candidate);
    }
    let mut referenced: HashSet<usize> = HashSet::new();
    for candidate in candidates.iter().copied().filter(|index| !skipped.contains(index)) {
        let own = base(files, candidate);
        if !matches!(names::extension(&own).as_str(), "usd" | "usda" | "usdc" | "usdz" | "blend") {
            continue;
        }
        let named = match scan::named_files(files, candidate, scan::LAYERS) {
            Err(error) if error.code == ErrorCode::Cancelled => return Err(error),
            Err(_) => continue,
            Ok(named) => named,
        };
        let others = named.keys().filter(|name| **name != own).filter_map(|name| by_base.get(name));
        referenced.extend(others.flatten());
    }
    let is_usd = |index: usize| {
        matches!(names::extension(files.name(index)).as_str(), "usd" | "usda" | "usdc" | "usdz")
    };
    let depth = |index: usize| files.name(index).split('/').count();
    let top = candidates.iter().map(|index| depth(*index)).min().unwrap_or_default();
    let highest: Vec<usize> = candidates.iter().copied().filter(|index| depth(*index) == top).collect();
    let all_usd = candidates.iter().all(|index| is_usd(*index));
    candidates.retain(|index| !referenced.contains(index));
    // Names in binary layers are compressed, but a scene lies above its parts.
    if let ([only], true) = (highest.as_slice(), all_usd && candidates.len() != 1) {
        *candidates = vec![*only];
    }
    Ok(())
}
