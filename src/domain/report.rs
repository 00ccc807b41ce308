//! The report of a conversion: what went in, what came out, what the target could not hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Format;

/// The report of a conversion, the same on the command line and over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub input: Contents,
    /// Counted in the file that was written.
    pub output: Contents,
    /// Content of the source that the result lacks, one clause each: "2 clips: stl holds no animation".
    pub losses: Vec<String>,
    /// Other remarks about the conversion, one clause each.
    pub warnings: Vec<String>,
    /// `blender 5.0.1` or `native`.
    pub engine: String,
    /// The importer that read the source, if the engine has several for its format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importer: Option<String>,
    pub timings: Timings,
}

/// Most clips in a report, and most entries of its other lists.
const MAX_CLIPS: usize = 1000;
const MAX_LISTED: usize = 200;

/// Longest name and longest sentence in a report, in characters.
const MAX_NAME: usize = 200;
const MAX_SENTENCE: usize = 1000;

impl Report {
    /// Shortens lists, names and sentences to what a person may want to read, and adds how much was left out. A model
    /// may hold as many names as it has bytes, and reports are kept in memory.
    pub fn shorten(&mut self) {
        for contents in [&mut self.input, &mut self.output] {
            contents.counts.shorten();
        }
        for (list, noun) in [(&mut self.losses, "losses"), (&mut self.warnings, "warnings")] {
            let more = cut_list(list, MAX_LISTED);
            for sentence in list.iter_mut() {
                cut(sentence, MAX_SENTENCE);
            }
            if more > 0 {
                list.push(format!("{more} more {noun} are not listed"));
            }
        }
    }

    /// Approximate memory of the report, in bytes.
    pub fn size(&self) -> usize {
        let texts =
            |texts: &[String]| texts.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let counts = [&self.input.counts, &self.output.counts].into_iter();
        let lists = counts.map(|counts| {
            let clips = counts.clips.iter().map(|clip| size_of::<Clip>() + clip.name.len()).sum::<usize>();
            clips + texts(&counts.missing_textures)
        });
        size_of::<Self>() + lists.sum::<usize>() + texts(&self.losses) + texts(&self.warnings)
    }
}

/// Cuts a text that is too long, ends it with `…`, and releases its memory.
fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        *text = format!("{}…", text.get(..end).unwrap_or_default());
    }
}

/// Cuts a list, releases its memory, and returns how many entries were left out.
fn cut_list<T>(list: &mut Vec<T>, most: usize) -> usize {
    let more = list.len().saturating_sub(most);
    if more > 0 {
        list.truncate(most);
        list.shrink_to_fit();
    }
    more
}

/// The content of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contents {
    pub format: Format,
    /// Total size of all files, in bytes.
    pub bytes: u64,
    pub files: u32,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts of a scene's content, made by Blender or natively.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counts {
    pub objects: u64,
    /// Mesh objects; each instance counts.
    pub meshes: u64,
    /// Vertices as stored in the file; formats that split vertices at seams have more.
    pub vertices: u64,
    pub triangles: u64,
    pub uv_layers: u64,
    pub vertex_colours: u64,
    pub materials: u64,
    pub textures: u64,
    /// Names of textures that the model refers to but that are missing.
    pub missing_textures: Vec<String>,
    /// Number of missing textures that are not listed, because there are too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_missing_textures: u64,
    pub bones: u64,
    /// Meshes bound to a skeleton.
    pub skins: u64,
    pub blend_shapes: u64,
    pub clips: Vec<Clip>,
    /// Number of clips that are not listed, because there are too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_clips: u64,
    pub cameras: u64,
    pub lights: u64,
    /// Whether the skeleton has a humanoid bone mapping.
    pub humanoid: bool,
    /// Bounding box of all meshes in rest pose, in metres, y up.
    pub bounds_m: Option<Bounds>,
}

// The signature that serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// All clips, listed or not.
    pub fn clip_count(&self) -> u64 {
        self.clips.len() as u64 + self.more_clips
    }

    fn shorten(&mut self) {
        self.more_clips += cut_list(&mut self.clips, MAX_CLIPS) as u64;
        self.clips.iter_mut().for_each(|clip| cut(&mut clip.name, MAX_NAME));
        self.more_missing_textures += cut_list(&mut self.missing_textures, MAX_LISTED) as u64;
        self.missing_textures.iter_mut().for_each(|name| cut(name, MAX_NAME));
    }
}

/// An animation clip.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Clip {
    pub name: String,
    /// Number of frames, including the first and the last.
    pub frames: u64,
    pub seconds: f64,
    pub fps: f64,
}

/// An axis-aligned box; its corners are `[x, y, z]` in metres, y up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    pub min: [f64; 3],
    pub max: [f64; 3],
}

impl Bounds {
    /// The extent on each axis in metres.
    pub fn size(&self) -> [f64; 3] {
        std::array::from_fn(|axis| self.max[axis] - self.min[axis])
    }
}

/// Duration of each stage in milliseconds; skipped stages are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Timings {
    /// Waiting for an engine slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_ms: Option<f64>,
    /// Counting the result's content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_ms: Option<f64>,
    /// From the first byte of the model to the finished result.
    pub total_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_report_is_shortened_and_says_so() {
        let clip = Clip { name: "猫".repeat(15_000), ..Clip::default() };
        let counts = Counts {
            clips: vec![clip; 4000],
            missing_textures: vec!["wood.png".to_owned(); 201],
            ..Counts::default()
        };
        let contents = Contents { format: Format::Glb, bytes: 1, files: 1, counts };
        let mut report = Report {
            input: contents.clone(),
            output: contents,
            losses: vec!["x".repeat(5000); 3],
            warnings: vec!["a texture was not found".to_owned(); 300],
            engine: "native".to_owned(),
            importer: None,
            timings: Timings::default(),
        };
        report.shorten();
        let counts = &report.input.counts;
        assert_eq!((counts.clips.len(), counts.more_clips, counts.clip_count()), (1000, 3000, 4000));
        assert_eq!(counts.clips[0].name, format!("{}…", "猫".repeat(200)));
        assert!(counts.clips.capacity() == 1000 && counts.clips[0].name.capacity() < 2000);
        assert_eq!((counts.missing_textures.len(), counts.more_missing_textures), (200, 1));
        assert_eq!(report.losses, vec![format!("{}…", "x".repeat(1000)); 3]);
        assert_eq!(
            (report.warnings.len(), report.warnings[200].as_str()),
            (201, "100 more warnings are not listed")
        );
        let written = serde_json::to_vec(&report).unwrap().len();
        assert!((written / 2..written * 2).contains(&report.size()), "{written} {}", report.size());
        assert!(written < 2 << 20, "{written}");
    }

    #[test]
    fn a_report_survives_reading_and_writing() {
        let text = r#"{"queue_ms":0.026106999999999998,"import_ms":0.026107,"total_ms":73.2048}"#;
        let timings: Timings = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&timings).unwrap(), text);
    }
}
