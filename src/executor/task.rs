//! What Blender is asked to do, and what it tells of a conversion that succeeded.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stats::Setback;
use crate::domain::report::Counts;
use crate::domain::{Format, Options};

/// What Blender has to do. Paths are relative to the conversion's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub input: PathBuf,
    pub input_format: Format,
    /// The main file of the result; others go beside it.
    pub output: PathBuf,
    /// `gltf` never comes here: Blender writes glb and the native lane takes it apart.
    pub output_format: Format,
    pub options: Options,
    /// Whether the child counts `output` by reading it back (where the gateway has no safe reader for it).
    pub read_back: bool,
    /// Which importer to use where there are several.
    pub importer: Importer,
    /// With more triangles, copies counted, the result would be larger than it may be. `None`: copies share one mesh.
    pub most_triangles: Option<u64>,
}

/// The choice among importers of one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Importer {
    #[default]
    Usual,
    /// The other one (FBX: the one in Python), for a file on which the usual one crashed.
    Other,
}

/// A conversion that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    pub success: ChildSuccess,
    /// Waiting for a slot.
    pub queue: Duration,
    /// Why there was more than one attempt.
    pub retried_after: Option<Setback>,
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
    /// How many textures fewer there are since some became channels of others: nothing of them is lost.
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

/// The version of an engine, with all that results depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// `5.0.1`
    pub blender: String,
    /// `4.10.2`, or empty where the VRM add-on is missing.
    pub vrm_addon: String,
}
