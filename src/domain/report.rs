//! The report of a conversion: what went in, what came out, what the target could not hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Format;

/// The report, the same for the command line, HTTP and jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub input: Contents,
    /// Counted from the file that was produced.
    pub output: Contents,
    /// What the result lacks of the source, one clause each: "2 clips: stl holds no animation".
    pub losses: Vec<String>,
    /// What the reader should know besides, one clause each.
    pub warnings: Vec<String>,
    /// `blender 5.0.1` or `native`.
    pub engine: String,
    /// The importer that read the source, where the engine has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importer: Option<String>,
    pub timings: Timings,
}

/// What a model holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contents {
    pub format: Format,
    /// Size of all the model's files together.
    pub bytes: u64,
    pub files: u32,
    #[serde(flatten)]
    pub counts: Counts,
}

/// What is in a scene, whoever counted it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counts {
    pub objects: u64,
    /// Objects that are meshes (instances count each).
    pub meshes: u64,
    /// Vertices as the format stores them: formats that split them at seams count more.
    pub vertices: u64,
    pub triangles: u64,
    pub uv_layers: u64,
    pub vertex_colours: u64,
    pub materials: u64,
    pub textures: u64,
    /// Names of textures that the model refers to and that were not there.
    pub missing_textures: Vec<String>,
    pub bones: u64,
    /// Meshes that are bound to a skeleton.
    pub skins: u64,
    pub blend_shapes: u64,
    pub clips: Vec<Clip>,
    pub cameras: u64,
    pub lights: u64,
    /// Whether the skeleton carries a humanoid assignment.
    pub humanoid: bool,
    /// Corners of the box around all meshes in their rest pose, in metres, y up.
    pub bounds_m: Option<Bounds>,
}

/// One animation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Clip {
    pub name: String,
    /// Number of frames, the first and the last included.
    pub frames: u64,
    pub seconds: f64,
    pub fps: f64,
}

/// An axis-aligned box: `[x, y, z]` in metres, y up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    pub min: [f64; 3],
    pub max: [f64; 3],
}

impl Bounds {
    /// The smallest box around `points`, or `None` when there are none (or none is finite).
    pub fn around(points: impl IntoIterator<Item = [f64; 3]>) -> Option<Bounds> {
        let mut bounds: Option<Bounds> = None;
        for point in points {
            if !point.iter().all(|value| value.is_finite()) {
                continue;
            }
            let grown = bounds.get_or_insert(Bounds { min: point, max: point });
            for (axis, value) in point.into_iter().enumerate() {
                grown.min[axis] = grown.min[axis].min(value);
                grown.max[axis] = grown.max[axis].max(value);
            }
        }
        bounds
    }

    /// The extent on each axis in metres.
    pub fn size(&self) -> [f64; 3] {
        std::array::from_fn(|axis| self.max[axis] - self.min[axis])
    }
}

/// Where the time went, in milliseconds; a stage that did not happen is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Timings {
    /// Waiting for a free slot of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_ms: Option<f64>,
    /// Counting what was produced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_ms: Option<f64>,
    /// From the first byte of the model to the finished result.
    pub total_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_was_read_is_written_as_it_was() {
        let text = r#"{"queue_ms":0.026106999999999998,"import_ms":0.026107,"total_ms":73.2048}"#;
        let timings: Timings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&timings).unwrap(), text);
    }
}
