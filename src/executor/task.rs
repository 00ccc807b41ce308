//! The task of one conversion in Blender, and the report of its success.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stats::AttemptFailure;
use crate::domain::report::Counts;
use crate::domain::{Format, Options};

/// One conversion in Blender. Paths are relative to the conversion's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub input: PathBuf,
    pub input_format: Format,
    /// The main file of the result; others go beside it.
    pub output: PathBuf,
    /// Never `gltf`: Blender writes glb, and the native lane unpacks it.
    pub output_format: Format,
    pub options: Options,
    /// Whether the child counts `output` by reading it back (where the gateway has no safe reader for it).
    pub read_back: bool,
    /// The importer to use, if the format has several.
    pub importer: Importer,
    /// The number of triangles, every copy counted, above which the result is surely too large. `None` if copies share
    /// one mesh.
    pub most_triangles: Option<u64>,
}

/// The choice among importers of one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Importer {
    #[default]
    #[serde(rename = "usual")]
    Default,
    /// The alternative (FBX: the Python importer), for a file on which the usual importer crashed.
    #[serde(rename = "other")]
    Fallback,
}

/// A task that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletedTask {
    pub success: ChildSuccess,
    /// Time spent waiting for a slot.
    pub queue: Duration,
    /// The failure of the first attempt, if there were two.
    pub retried_after: Option<AttemptFailure>,
}

/// The part of the report that only the child can know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildSuccess {
    /// Counted in the scene after the import, before options were applied.
    pub input: Counts,
    /// Counted from the file produced; present when the task asked to read it back.
    #[serde(default)]
    pub output: Option<Counts>,
    /// The importer's name: `wm.fbx_import`
    pub importer: String,
    /// Textures that became channels of other textures, so that nothing of them is lost.
    #[serde(default)]
    pub packed_textures: u64,
    /// Losses that no count shows, one clause each.
    #[serde(default)]
    pub losses: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    pub import_ms: f64,
    pub process_ms: f64,
    pub export_ms: f64,
    pub check_ms: f64,
}

/// The engine's version, as far as results depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// `5.0.1`
    pub blender: String,
    /// `4.10.2`, or empty if the VRM add-on is missing.
    pub vrm_addon: String,
}
