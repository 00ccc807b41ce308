//! Chooses how a model is repacked.

use std::fs;
use std::path::{Path, PathBuf};

use super::SizeLimit;
use super::to_glb::write_glb;
use super::to_gltf::{copy, write_embedded, write_separated};
use crate::context::Context;
use crate::domain::options::{EngineChoice, Packaging};
use crate::domain::{ConversionError, ErrorCode, Format, Options};
use crate::formats::gltf::asset::Asset;
use crate::formats::gltf::byte_range::ByteRange;
use crate::formats::gltf::json_text::Members;

/// Whether `input` can be repacked as `output` with these options.
///
/// A vrm or vrma is a glb with more metadata; only Blender makes one of a glb.
pub fn can(input: Format, output: Format, options: &Options) -> bool {
    input.is_gltf_family()
        && matches!(output, Format::Gltf | Format::Glb)
        && options.engine == EngineChoice::Auto
        && options.allows_repack()
}

/// Repacks `source` as `name.glb` or `name.gltf` in the existing folder `output_dir`.
///
/// Returns the paths of the files relative to `output_dir`, the main file first. A glb is always self-contained, a gltf
/// unless the result is to be a zip.
///
/// # Errors
/// `import_failed`, `missing_files`, `export_failed`, `output_too_large`, `io`.
pub fn repack(
    source: &Asset,
    limit: SizeLimit,
    output_dir: &Path,
    name: &str,
    output: Format,
    packaging: Packaging,
) -> Result<Vec<PathBuf>, ConversionError> {
    if output == Format::Gltf && packaging == Packaging::Zip {
        return write_separated(source, output_dir, name, limit);
    }
    let written = PathBuf::from(format!("{name}.{output}"));
    repack_alone(source, limit, &output_dir.join(&written), output)?;
    Ok(vec![written])
}

/// As [`repack`], but writes the one self-contained file `target`.
pub fn repack_alone(
    source: &Asset,
    limit: SizeLimit,
    target: &Path,
    output: Format,
) -> Result<(), ConversionError> {
    match output {
        Format::Gltf => write_embedded(source, target, limit),
        Format::Glb if is_self_contained(source)? => {
            let size = source.main.open().and_then(|file| file.metadata());
            let size = size.map_err(|error| ConversionError::io("read the model", &error))?.len();
            limit.check(size)?;
            let whole = ByteRange::bytes(&source.main, 0, size);
            copy(&whole, target, &source.cancel)
                .map_err(|error| ConversionError::io("write the result", &error))
        }
        Format::Glb => write_glb(source, target, limit),
        _ => {
            let detail = format!("a model cannot be repacked as {output}");
            Err(ConversionError::new(ErrorCode::Internal, detail))
        }
    }
}

/// Repacks the file `glb`, which Blender wrote, as `name.gltf` in `output_dir`, with at most `most` bytes.
///
/// # Errors
/// As [`repack`].
pub fn glb_to_gltf(
    glb: &Path,
    most: u64,
    output_dir: &Path,
    name: &str,
    packaging: Packaging,
    context: &Context,
) -> Result<Vec<PathBuf>, ConversionError> {
    let model = fs::metadata(glb).map_err(|error| ConversionError::io("read the result", &error))?.len();
    let limit = SizeLimit { model, most };
    repack(&Asset::open(glb, context)?, limit, output_dir, name, Format::Gltf, packaging)
}

/// Whether the source is a glb without references to files, so that its own bytes are the result.
fn is_self_contained(source: &Asset) -> Result<bool, ConversionError> {
    if source.container.is_none() {
        return Ok(false);
    }
    let root = Members::parse(source.json.text())?;
    let mut referring = root.objects("buffers")?;
    for (index, buffer) in referring.iter().enumerate() {
        source.buffer(index, buffer)?;
    }
    referring.extend(root.objects("images")?);
    let outside = |object: &Members| object.get("uri").is_some_and(|uri| source.json.payload(uri).is_none());
    Ok(!referring.iter().any(outside))
}
