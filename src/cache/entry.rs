//! The cache entry of a conversion.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{ConversionError, Format};
use crate::storage::Hash;

/// Lifetime of a failure that is the model's fault.
pub const FAILURE_LIFE: Duration = Duration::from_mins(1);

/// The outcome of a conversion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Result(ResultInfo),
    Failure(ConversionError),
}

/// A stored result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultInfo {
    #[serde(with = "hex")]
    pub hash: Hash,
    /// Bytes of the one file.
    pub bytes: u64,
    pub format: Format,
    /// The main file's name in the zip, if the client did not ask for the zip.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub main: Option<Box<str>>,
    pub zip: bool,
    /// The model's name without an extension.
    pub stem: Box<str>,
    pub report: Uuid,
    pub losses: u32,
}

impl ResultInfo {
    /// The file name for clients.
    pub fn file_name(&self) -> String {
        let extension = if self.zip { "zip" } else { self.format.info().extensions[0] };
        format!("{}.{extension}", self.stem)
    }

    pub fn media_type(&self) -> &'static str {
        if self.zip { "application/zip" } else { self.format.info().media_type }
    }

    /// The value of `Content-Disposition`, by RFC 6266: an ASCII name for old clients, and the full name for all
    /// others.
    pub fn content_disposition(&self) -> String {
        let name = self.file_name();
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ';
        let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        if plain == name {
            return format!("attachment; filename=\"{plain}\"");
        }
        let encoded = utf8_percent_encode(&name, ATTR_CHAR);
        format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
    }
}

/// RFC 8187, `attr-char`: the characters that are not encoded.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

impl Entry {
    /// Returns the stored form.
    pub fn to_json(&self) -> Vec<u8> {
        // Serialising it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the stored form; `None` if another version wrote it or it is cut off.
    pub fn from_json(json: &[u8]) -> Option<Entry> {
        serde_json::from_slice(json).ok()
    }

    /// Bytes of the result in the store.
    pub fn bytes(&self) -> u64 {
        match self {
            Entry::Result(result) => result.bytes,
            Entry::Failure(_) => 0,
        }
    }

    /// The lifetime of the entry, if that of results is `duration`.
    pub fn life(&self, duration: Duration) -> Duration {
        match self {
            Entry::Result(_) => duration,
            Entry::Failure(_) => FAILURE_LIFE.min(duration),
        }
    }
}

/// Writes a hash as hexadecimal digits, for `#[serde(with)]`.
pub mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::storage::Hash;

    pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hash.to_hex())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hash::from_hex(text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_in_content_disposition() {
        let disposition = |stem: &str| {
            let result = ResultInfo {
                hash: blake3::hash(b""),
                bytes: 0,
                format: Format::Glb,
                main: None,
                zip: false,
                stem: stem.into(),
                report: Uuid::nil(),
                losses: 0,
            };
            result.content_disposition()
        };
        assert_eq!(disposition("duck"), "attachment; filename=\"duck.glb\"");
        assert_eq!(
            disposition("猫 \"1\""),
            "attachment; filename=\"_ _1_.glb\"; filename*=UTF-8''%E7%8C%AB%20%221%22.glb"
        );
    }
}
