//! What is remembered of a conversion.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{ConversionError, Format};
use crate::storage::Hash;

/// How long a failure that is the model's fault is remembered.
pub const FAILURE_LIFE: Duration = Duration::from_mins(1);

/// How a conversion ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Result(Result),
    Failure(ConversionError),
}

/// A result that the store has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Result {
    #[serde(with = "hex")]
    pub hash: Hash,
    /// Of the one file.
    pub bytes: u64,
    pub format: Format,
    /// The main file's name in the zip, where it is a zip of several files that were not asked for as one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub main: Option<Box<str>>,
    /// Whether it is a zip.
    pub zip: bool,
    /// The model's name without an extension.
    pub stem: Box<str>,
    pub report: Uuid,
    /// How many things were lost.
    pub losses: u32,
}

impl Result {
    /// What the file may be called.
    pub fn file_name(&self) -> String {
        let extension = if self.zip { "zip" } else { self.format.info().extensions[0] };
        format!("{}.{extension}", self.stem)
    }
}

impl Entry {
    /// As it is kept.
    pub fn to_json(&self) -> Vec<u8> {
        // There is nothing in it that cannot be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was kept, unless it is something else: written by another version, or cut off.
    pub fn from_json(json: &[u8]) -> Option<Entry> {
        serde_json::from_slice(json).ok()
    }

    /// Bytes in the store.
    pub fn bytes(&self) -> u64 {
        match self {
            Entry::Result(result) => result.bytes,
            Entry::Failure(_) => 0,
        }
    }

    /// How long it is remembered, where results are for `duration`.
    pub fn life(&self, duration: Duration) -> Duration {
        match self {
            Entry::Result(_) => duration,
            Entry::Failure(_) => FAILURE_LIFE.min(duration),
        }
    }
}

mod hex {
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
