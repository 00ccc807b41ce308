//! A glTF file of either kind, opened: its JSON in memory, its bytes where they are.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::byte_range::ByteRange;
use super::glb::{Container, ONLY_2};
use super::json_text::{Json, Members};
use super::{malformed, unreadable};
use crate::context::{Context, Reservation};
use crate::domain::{Cancel, ConversionError, ErrorCode, error};
use crate::fs::open::{Located, Root};

/// A glTF file and the folder in which its references are looked for.
#[derive(Debug)]
pub struct Asset {
    pub main: Located,
    /// Below it, no link is followed. Without one, every reference is to nothing.
    folder: Option<Arc<Root>>,
    pub json: Json,
    /// Present in a glb.
    pub container: Option<Container>,
    /// Checked between steps of what is done with it.
    pub cancel: Cancel,
    /// What looking at its JSON may take.
    _memory: Reservation,
}

/// What a `uri` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Bytes in the JSON itself, with their media type as written.
    Data(ByteRange, String),
    /// Another file; the path is relative to the folder of the references, and does not climb.
    File(ByteRange, PathBuf),
    /// Nothing that is there and may be opened; what it is called.
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
    /// Opens `main`, which must not be a link, and reads its structure; it refers to files in its own folder.
    ///
    /// # Errors
    /// `import_failed` when it is no glTF 2.0; `io`.
    pub fn open(main: &Path, context: &Context) -> Result<Asset, ConversionError> {
        let main = Located::at(main).map_err(|error| ConversionError::io("open the model", &error))?;
        let folder = main.root().cloned();
        Asset::open_in(main, folder, context)
    }

    /// As [`Asset::open`], of a file that refers to files in `folder`, or to none. `main` may lie deeper in there, or
    /// elsewhere: then its references are as if it lay in `folder`.
    ///
    /// # Errors
    /// As [`Asset::open`].
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
        let cancel = context.cancel.clone();
        let source = Asset { main, folder, json, container, cancel, _memory: memory };
        source.check_version()?;
        Ok(source)
    }

    fn check_version(&self) -> Result<(), ConversionError> {
        let head: Head = serde_json::from_str(self.json.text())
            .map_err(|error| malformed(format!("the file's JSON is wrong: {}", error::of_json(&error))))?;
        let version = head.asset.version.map_or("", |version| version.get().trim_matches('"'));
        if version.starts_with("2.") || version == "2" {
            return Ok(());
        }
        if version.starts_with('1') || version.starts_with("0.") {
            return Err(malformed(ONLY_2));
        }
        if version.is_empty() {
            return Err(malformed("the file does not say its glTF version"));
        }
        Err(malformed(format!("the file's glTF version is {version:.20}; only glTF 2.0 can be read")))
    }

    /// What `uri` stands for. A path that could leave the folder is never opened: it counts as missing.
    ///
    /// # Errors
    /// `import_failed` for a URI that is no string or is coded in an unknown way, `cancelled`.
    pub fn resolve(&self, uri: &RawValue) -> Result<Reference, ConversionError> {
        self.cancel.check()?;
        let text: String =
            serde_json::from_str(uri.get()).map_err(|_| malformed("a uri in it is no text"))?;
        if let Some(hole) = self.json.hole(uri) {
            let head = text.strip_prefix("data:").unwrap_or_default().trim_end_matches(',');
            let Some(media_type) = head.strip_suffix(";base64") else {
                return Err(malformed("a data: URI in it is not base64"));
            };
            let media_type = media_type.split(';').next().unwrap_or_default().to_owned();
            return Ok(Reference::Data(ByteRange::base64(&self.main, hole), media_type));
        }
        if text.starts_with("data:") {
            return Err(malformed("a data: URI in it is not base64"));
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy();
        for name in [decoded.as_ref(), text.as_str()] {
            if let Some((found, path)) = self.beside(Path::new(name)) {
                return Ok(Reference::File(found, path));
            }
        }
        Ok(Reference::Missing(decoded.into_owned()))
    }

    /// The folder of the main file, relative to that of the references.
    pub fn base(&self) -> &Path {
        self.main.relative().parent().unwrap_or(Path::new(""))
    }

    /// The file that is called `relative` from the main one, if it is one in the folder, and its path there.
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

    /// Where the bytes of the buffer `index` are; `None` for one that has none (the fallback of a compressed one).
    ///
    /// # Errors
    /// `missing_files` when its file is not there, `import_failed` when there is less of it than it says.
    pub fn buffer(&self, index: usize, buffer: &Members) -> Result<Option<ByteRange>, ConversionError> {
        let length: u64 =
            buffer.read("byteLength")?.ok_or_else(|| malformed("a buffer has no byteLength"))?;
        let found = match buffer.get("uri").map(|uri| self.resolve(uri)).transpose()? {
            Some(Reference::Data(stretch, _) | Reference::File(stretch, _)) => stretch,
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
        let there = found.length();
        found.shortened(length).map(Some).ok_or_else(|| {
            malformed(format!("buffer {index} is truncated: {there} of {length} bytes are there"))
        })
    }
}
