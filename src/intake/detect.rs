//! Detects the format of a file from its content; the name decides only where the content is ambiguous.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::source::{NamedFile, unreadable};
use super::{bounded_json, unsupported};
use crate::domain::format::{Signature, TABLE};
use crate::domain::{Cancel, ConversionError, ErrorCode, Format};
use crate::formats::blend;
use crate::formats::gltf::glb::{self, Container};
use crate::formats::gltf::{bounded_list, check_version, malformed};
use crate::fs::{names, open};

/// Number of bytes of a file that are examined, except of JSON and zips.
const HEAD: u64 = 64 << 10;

/// Version of the oldest binary FBX that Blender's importer opens, as in its header.
const OLDEST_FBX: u32 = 3000;

/// The kind of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    Model(Format),
    /// An archive that may hold a model.
    Zip,
}

/// Detects the content of the file at `path`; `name` is the sender's name for it.
///
/// # Errors
/// `empty_file`, `unknown_format` with a guess, `import_failed` for a version of a format that cannot be read,
/// `cancelled`, `io`.
pub fn detect_file(path: &Path, name: &str, cancel: &Cancel) -> Result<Detected, ConversionError> {
    let file = open::regular(path).map_err(unreadable)?;
    detect(&mut cancel.reader(file), name)
}

/// As [`detect_file`], for a file that was sent.
pub fn detect_sent(file: &NamedFile, cancel: &Cancel) -> Result<Detected, ConversionError> {
    let opened = file.file.open().map_err(unreadable)?;
    detect(&mut cancel.reader(opened), &file.name)
}

/// As [`detect_file`], for an open file.
pub fn detect(file: &mut (impl Read + Seek), name: &str) -> Result<Detected, ConversionError> {
    let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    if head.is_empty() {
        return Err(ConversionError::new(ErrorCode::EmptyFile, "the file is empty"));
    }
    let extension = names::extension(name);
    if head.starts_with(&glb::MAGIC)
        && let Some(container) = Container::read(file)?
    {
        return glb(file, &container.json).map(Detected::Model);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(if is_usdz(&head, &extension) { Detected::Model(Format::Usdz) } else { Detected::Zip });
    }
    if let Some(format) = by_signature(&head, &extension)? {
        if format == Format::Ply {
            check_ply(&head, length)?;
        }
        return Ok(Detected::Model(format));
    }
    let is_compressed = head.starts_with(blend::ZSTD) || head.starts_with(blend::GZIP);
    if is_compressed && (extension == "blend" || blend::is_blend(file.by_ref()).map_err(unreadable)?) {
        return Ok(Detected::Model(Format::Blend));
    }
    if let Some(format) = stl(&head, length, &extension)? {
        return Ok(Detected::Model(format));
    }
    let text = trimmed(&head);
    if text.first() == Some(&b'{') && unsupported::is_text(text) {
        return gltf(file, &head, &extension).map(Detected::Model);
    }
    if is_obj(text, &extension) {
        return Ok(Detected::Model(Format::Obj));
    }
    Err(ConversionError::new(
        ErrorCode::UnknownFormat,
        format!("the file is {}", unsupported::describe(&head)),
    ))
}

/// A warning for a file whose name does not fit its content.
pub fn name_mismatch(content: Detected, name: &str) -> Option<String> {
    let extension = names::extension(name);
    let actual = match content {
        Detected::Model(format) => format.name(),
        Detected::Zip => "zip",
    };
    let claimed = match Format::from_extension(&extension) {
        Some(format) => format.name(),
        None if extension == "zip" => "zip",
        None => return None,
    };
    (claimed != actual).then(|| format!("the name says {claimed} but the content is {actual}"))
}

fn by_signature(head: &[u8], extension: &str) -> Result<Option<Format>, ConversionError> {
    let text = trimmed(head);
    if head.starts_with(b"Kaydara FBX Binary  \0") {
        let version = u32_at(head, 23).unwrap_or_default();
        return if version < OLDEST_FBX { Err(too_old_fbx(version)) } else { Ok(Some(Format::Fbx)) };
    }
    if is_ascii_fbx(text) {
        return Ok(Some(Format::Fbx));
    }
    if head.starts_with(b"\x89HDF\r\n\x1a\n") {
        return Err(malformed("the file is HDF5, the old kind of Alembic; only the Ogawa kind can be read"));
    }
    let fits = |signature: &Signature| match signature {
        Signature::Bytes(bytes) => head.starts_with(bytes),
        Signature::Text(start) => text.starts_with(start.as_bytes()),
        Signature::Word(word) => starts_with_word(text, word.as_bytes()),
    };
    let format = TABLE.iter().find(|row| row.signatures.iter().any(fits)).map(|row| row.format);
    Ok(match format {
        Some(Format::Usda | Format::Usdc) if extension == "usd" => Some(Format::Usd),
        other => other,
    })
}

fn too_old_fbx(version: u32) -> ConversionError {
    let detail =
        format!("the file is FBX {}.{}, which is too old to be read", version / 1000, version / 100 % 10);
    malformed(detail)
}

fn is_ascii_fbx(text: &[u8]) -> bool {
    let first = text.get(..4096).unwrap_or(text);
    (first.starts_with(b"; FBX") && contains(first, b"project file"))
        || contains(first, b"FBXHeaderExtension:")
}

/// Whether a zip is a usdz: its first entry is a scene, stored and aligned. A zipped folder is rarely so.
fn is_usdz(head: &[u8], extension: &str) -> bool {
    let (Some(method), Some(name_length), Some(extra_length)) =
        (u16_at(head, 8), u16_at(head, 26), u16_at(head, 28))
    else {
        return false;
    };
    let end = 30 + usize::from(name_length);
    let name = names::decode(head.get(30..end).unwrap_or_default());
    let is_scene = matches!(names::extension(&name).as_str(), "usd" | "usda" | "usdc");
    let aligned = (end + usize::from(extra_length)) % 64 == 0;
    is_scene && method == 0 && (aligned || extension == "usdz")
}

/// Refuses counts for which the file is too short: Blender allocates memory for them before it reads.
fn check_ply(head: &[u8], length: u64) -> Result<(), ConversionError> {
    let lines = head.split(|byte| matches!(byte, b'\n' | b'\r'));
    for line in lines.take_while(|line| !line.starts_with(b"end_header")) {
        let line = String::from_utf8_lossy(line);
        let ["element", name, count] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        if count.parse().is_ok_and(|count: u128| count > u128::from(length)) {
            let name = names::quoted(name);
            let detail = format!("the ply file is damaged: it announces {count} of {name} in {length} bytes");
            return Err(malformed(detail));
        }
    }
    Ok(())
}

fn stl(head: &[u8], length: u64, extension: &str) -> Result<Option<Format>, ConversionError> {
    let triangles = u32_at(head, 80);
    let announced = triangles.map(|count| 84 + 50 * u64::from(count));
    if announced == Some(length) && (triangles != Some(0) || extension == "stl") {
        return Ok(Some(Format::Stl));
    }
    let text = trimmed(head);
    if starts_with_word(text, b"solid") {
        let lower = text.to_ascii_lowercase();
        if (extension == "stl" && unsupported::is_text(head))
            || contains(&lower, b"facet")
            || contains(&lower, b"endsolid")
        {
            return Ok(Some(Format::Stl));
        }
    }
    let (Some(triangles), Some(announced)) = (triangles, announced) else { return Ok(None) };
    if extension != "stl" || unsupported::is_text(head) {
        return Ok(None);
    }
    if announced <= length && triangles > 0 {
        return Ok(Some(Format::Stl));
    }
    if unsupported::by_magic(head).is_some() {
        return Ok(None);
    }
    let room = length.saturating_sub(84) / 50;
    let detail =
        format!("the stl file is damaged: it announces {triangles} triangles and has room for {room}");
    Err(malformed(detail))
}

/// The members that tell the formats of the glTF family apart.
#[derive(Deserialize)]
struct Probe {
    asset: Option<Asset>,
    #[serde(rename = "extensionsUsed", default, deserialize_with = "bounded_list")]
    used: Vec<Used>,
    extensions: Option<Extensions>,
}

#[derive(Deserialize)]
struct Asset {
    version: Option<String>,
}

#[derive(Deserialize)]
struct Extensions {
    #[serde(rename = "VRM")]
    vrm0: Option<IgnoredAny>,
    #[serde(rename = "VRMC_vrm")]
    vrm1: Option<IgnoredAny>,
    #[serde(rename = "VRMC_vrm_animation")]
    vrma: Option<IgnoredAny>,
}

/// A name in the list of used extensions.
#[derive(PartialEq, Deserialize)]
enum Used {
    #[serde(rename = "VRM", alias = "VRMC_vrm")]
    Vrm,
    #[serde(rename = "VRMC_vrm_animation")]
    Vrma,
    #[serde(other)]
    Other,
}

impl Probe {
    fn binary_format(&self) -> Format {
        let has = |pick: fn(&Extensions) -> &Option<IgnoredAny>| {
            self.extensions.as_ref().is_some_and(|e| pick(e).is_some())
        };
        if self.used.contains(&Used::Vrm) || has(|e| &e.vrm0) || has(|e| &e.vrm1) {
            return Format::Vrm;
        }
        if self.used.contains(&Used::Vrma) || has(|e| &e.vrma) {
            return Format::Vrma;
        }
        Format::Glb
    }

    fn check_version(&self) -> Result<(), ConversionError> {
        check_version(self.asset.as_ref().and_then(|asset| asset.version.as_deref()))
    }
}

fn glb(file: &mut (impl Read + Seek), json: &Range<u64>) -> Result<Format, ConversionError> {
    file.seek(SeekFrom::Start(json.start)).map_err(unreadable)?;
    let probe: Probe = bounded_json::read(file.take(json.end - json.start), "glb")?;
    probe.check_version()?;
    Ok(probe.binary_format())
}

fn gltf(file: &mut (impl Read + Seek), head: &[u8], extension: &str) -> Result<Format, ConversionError> {
    let claims = extension == "gltf" || (contains(head, b"\"asset\"") && contains(head, b"\"version\""));
    let other = || ConversionError::new(ErrorCode::UnknownFormat, "the file is JSON, but not glTF");
    let skipped = head.len() - trimmed(head).len();
    file.seek(SeekFrom::Start(skipped as u64)).map_err(unreadable)?;
    match bounded_json::read::<Probe>(file, "gltf") {
        Ok(probe) if probe.asset.is_some() || extension == "gltf" => {
            probe.check_version().map(|()| Format::Gltf)
        }
        Err(error) if claims || error.code == ErrorCode::Cancelled => Err(error),
        _ => Err(other()),
    }
}

/// Whether the text is OBJ: most lines are statements of OBJ and, unless the extension is obj, one is a vertex or
/// library.
fn is_obj(text: &[u8], extension: &str) -> bool {
    if !unsupported::is_text(text) {
        return false;
    }
    let mut known = 0;
    let mut other = 0;
    let mut telling = false;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')).take(500) {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match words.next() {
            None | Some([b'#', ..]) => continue,
            Some(b"v") => telling |= words.take_while(|word| is_number(word)).count() >= 3,
            Some(b"mtllib") => telling |= words.next().is_some(),
            Some(b"vn" | b"vt" | b"vp" | b"f" | b"l" | b"p" | b"o" | b"g" | b"s" | b"usemtl") => {}
            Some(_) => {
                other += 1;
                continue;
            }
        }
        known += 1;
    }
    if extension == "obj" {
        // A file of comments alone is an empty OBJ.
        return known > 0 || (other == 0 && text.contains(&b'#'));
    }
    telling && known > 10 * other
}

fn is_number(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<f64>().is_ok())
}

/// Removes a byte order mark and white space from the beginning.
fn trimmed(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

fn starts_with_word(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        && text.get(word.len()).is_none_or(u8::is_ascii_whitespace)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memmem::find(haystack, needle).is_some()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}
