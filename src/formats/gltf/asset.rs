//! An open glTF file, as text or binary: its JSON is in memory, its buffers and images stay in their files.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::byte_range::ByteRange;
use super::glb::Container;
use super::json_text::{Json, Members};
use super::{check_version, malformed, unreadable};
use crate::context::{Context, Reservation};
use crate::domain::{Cancel, ConversionError, ErrorCode, error};
use crate::fs::open::{Located, Root};

/// Characters that are escaped in the path of a URI.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Escapes `path` as a relative URI.
pub fn uri_of(path: &str) -> String {
    utf8_percent_encode(path, ESCAPED).to_string()
}

/// An open glTF file and the folder that its references are relative to.
#[derive(Debug)]
pub struct Asset {
    pub main: Located,
    /// No link is followed below it. Without a folder, every referenced file is missing.
    folder: Option<Arc<Root>>,
    pub json: Json,
    /// `None` for a text file.
    pub container: Option<Container>,
    /// Checked between the steps of work on this file.
    pub cancel: Cancel,
    /// Memory for parsing its JSON.
    _memory: Reservation,
}

/// The target of a `uri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Bytes in the JSON itself, and their media type as written.
    Data(ByteRange, String),
    /// Another file, and its path relative to the folder of the references, without `..`.
    File(ByteRange, PathBuf),
    /// A file that does not exist or may not be opened, by its name.
    Missing(String),
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    asset: AssetInfo<'a>,
}

#[derive(Deserialize, Default)]
struct AssetInfo<'a> {
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
}

impl Asset {
    /// Opens `main`, which must not be a link, and reads its JSON; references are relative to its own folder.
    ///
    /// # Errors
    /// `import_failed` when it is not glTF 2.0, `too_large`, `cancelled`, `io`.
    pub fn open(main: &Path, context: &Context) -> Result<Asset, ConversionError> {
        let main = Located::at(main).map_err(|error| ConversionError::io("open the model", &error))?;
        let folder = main.root().cloned();
        Asset::open_in(main, folder, context)
    }

    /// As [`Asset::open`], for a file that may refer to files in `folder`. If `main` lies outside `folder`, its
    /// references are resolved as if it lay there.
    pub fn open_in(
        main: Located,
        folder: Option<Arc<Root>>,
        context: &Context,
    ) -> Result<Asset, ConversionError> {
        let mut file = main.open().map_err(|error| ConversionError::io("open the model", &error))?;
        let container = Container::read(&mut file)?;
        let range = match &container {
            Some(container) => container.json.clone(),
            None => 0..file.metadata().map_err(|error| unreadable("the model", &error))?.len(),
        };
        let json = Json::read(&mut file, range, &context.cancel)?;
        let memory = context.reserve(json.parsed_bytes())?;
        let head: Head = serde_json::from_str(json.text())
            .map_err(|error| malformed(format!("the file's JSON is wrong: {}", error::of_json(&error))))?;
        check_version(head.asset.version.map(|version| version.get().trim_matches('"')))?;
        let cancel = context.cancel.clone();
        Ok(Asset { main, folder, json, container, cancel, _memory: memory })
    }

    /// Finds the target of `uri`. A path that could leave the folder is never opened: it counts as missing.
    ///
    /// # Errors
    /// `import_failed` for a URI that is not a string or has an unknown encoding, `cancelled`.
    pub fn resolve(&self, uri: &RawValue) -> Result<Reference, ConversionError> {
        self.cancel.check()?;
        let text: String =
            serde_json::from_str(uri.get()).map_err(|_| malformed("a uri in the file is not a string"))?;
        let not_base64 = || malformed("a data: URI in the file is not base64");
        if let Some(payload) = self.json.payload(uri) {
            let head = text.strip_prefix("data:").unwrap_or_default().trim_end_matches(',');
            let media_type = head.strip_suffix(";base64").ok_or_else(not_base64)?;
            let media_type = media_type.split(';').next().unwrap_or_default().to_owned();
            return Ok(Reference::Data(ByteRange::base64(&self.main, payload), media_type));
        }
        if text.starts_with("data:") {
            return Err(not_base64());
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy();
        for name in [decoded.as_ref(), text.as_str()] {
            if let Some((found, path)) = self.beside(Path::new(name)) {
                return Ok(Reference::File(found, path));
            }
        }
        Ok(Reference::Missing(decoded.into_owned()))
    }

    /// The folder of the main file, relative to the folder of the references.
    pub fn base(&self) -> &Path {
        self.main.relative().parent().unwrap_or(Path::new(""))
    }

    /// The file at `relative` to the main one and its path in the folder of the references; `None` if it is not there.
    fn beside(&self, relative: &Path) -> Option<(ByteRange, PathBuf)> {
        let mut inside = self.base().to_owned();
        for part in relative.components() {
            match part {
                Component::Normal(name) => inside.push(name),
                Component::CurDir => {}
                Component::ParentDir if inside.pop() => {}
                _ => return None,
            }
        }
        let file = Located::new(self.folder.as_ref()?, inside.clone());
        let metadata = file.open().and_then(|file| file.metadata()).ok()?;
        Some((ByteRange::bytes(&file, 0, metadata.len()), inside))
    }

    /// Finds the bytes of the buffer `index`; `None` if it has none (it is the fallback of a compressed one).
    ///
    /// # Errors
    /// `missing_files` when its file does not exist, `import_failed` when it is shorter than its `byteLength`.
    pub fn buffer(&self, index: usize, buffer: &Members) -> Result<Option<ByteRange>, ConversionError> {
        let length: u64 =
            buffer.read("byteLength")?.ok_or_else(|| malformed("a buffer has no byteLength"))?;
        let found = match buffer.get("uri").map(|uri| self.resolve(uri)).transpose()? {
            Some(Reference::Data(bytes, _) | Reference::File(bytes, _)) => bytes,
            Some(Reference::Missing(name)) => {
                let detail = format!("the file {name:?}, which holds geometry, is missing");
                return Err(ConversionError::new(ErrorCode::MissingFiles, detail));
            }
            None => {
                let bin = self.container.as_ref().and_then(|container| container.bin.clone());
                let Some(bin) = bin.filter(|_| index == 0) else { return Ok(None) };
                ByteRange::bytes(&self.main, bin.start, bin.end - bin.start)
            }
        };
        let available = found.length();
        found.truncated(length).map(Some).ok_or_else(|| {
            malformed(format!("buffer {index} is truncated: {available} of {length} bytes are there"))
        })
    }
}
