//! The options of a conversion, under one name for the command line and the HTTP API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConversionError, ErrorCode, Format};

/// How results of several files are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Packaging {
    /// The file itself, or a zip if there are several.
    #[default]
    Auto,
    /// Always one file; content that it cannot hold is reported as lost.
    Single,
    /// Always a zip.
    Zip,
}

/// The engine that converts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// Repack without Blender if lossless, otherwise use Blender.
    #[default]
    Auto,
    Blender,
}

/// The options of a conversion. Equal options have equal JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    pub packaging: Packaging,
    /// Whether to convert animation clips.
    pub animation: bool,
    /// Factor by which the model is scaled.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub scale: f64,
    /// Whether to cut polygons into triangles.
    pub triangulate: bool,
    /// Whether to compress meshes with Draco (glb and gltf only).
    pub draco: bool,
    pub engine: EngineChoice,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            packaging: Packaging::Auto,
            animation: true,
            scale: 1.0,
            triangulate: false,
            draco: false,
            engine: EngineChoice::Auto,
        }
    }
}

/// The type of an option, with its range or values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    Boolean,
    Number { minimum: f64, maximum: f64 },
    String { values: &'static [&'static str] },
}

/// The description of one option, for help texts and the API document.
#[derive(Debug)]
pub struct OptionInfo {
    pub name: &'static str,
    pub kind: Kind,
    /// The possible values, for people.
    pub values: &'static str,
    pub default: &'static str,
    pub help: &'static str,
}

/// Every option, in the order in which they are listed to people.
pub static TABLE: [OptionInfo; 6] = [
    OptionInfo {
        name: "packaging",
        kind: Kind::String { values: &["auto", "single", "zip"] },
        values: "auto|single|zip",
        default: "auto",
        help: "how results of several files are delivered",
    },
    OptionInfo {
        name: "animation",
        kind: Kind::Boolean,
        values: "true|false",
        default: "true",
        help: "convert animation clips",
    },
    OptionInfo {
        name: "scale",
        kind: Kind::Number { minimum: *SCALE_RANGE.start(), maximum: *SCALE_RANGE.end() },
        values: "number from 0.000001 to 1000000",
        default: "1",
        help: "scale the model by this factor",
    },
    OptionInfo {
        name: "triangulate",
        kind: Kind::Boolean,
        values: "true|false",
        default: "false",
        help: "cut polygons into triangles",
    },
    OptionInfo {
        name: "draco",
        kind: Kind::Boolean,
        values: "true|false",
        default: "false",
        help: "compress meshes with Draco (glb and gltf only)",
    },
    OptionInfo {
        name: "engine",
        kind: Kind::String { values: &["auto", "blender"] },
        values: "auto|blender",
        default: "auto",
        help: "repack glb, gltf and vrm without Blender if lossless (auto), or always use Blender (blender)",
    },
];

/// The range of `scale`: beyond it floats lose the model.
const SCALE_RANGE: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

impl Options {
    pub fn exists(name: &str) -> bool {
        TABLE.iter().any(|info| info.name == name)
    }

    /// Sets the option `name` from its text.
    ///
    /// # Errors
    /// `unknown_option` or `invalid_option`; the sentence names the option and what it takes.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConversionError> {
        let Some(info) = TABLE.iter().find(|info| info.name == name) else {
            let known = TABLE.each_ref().map(|info| info.name).join(", ");
            return Err(ConversionError::new(
                ErrorCode::UnknownOption,
                format!("unknown option {name:?}; the options are {known}"),
            ));
        };
        let invalid = || {
            let article = if matches!(info.kind, Kind::Number { .. }) { "a " } else { "" };
            ConversionError::new(
                ErrorCode::InvalidOption,
                format!("option {name} takes {article}{}, not {value:?}", info.values),
            )
        };
        match name {
            "packaging" => self.packaging = word(value).ok_or_else(invalid)?,
            "animation" => self.animation = value.parse().map_err(|_| invalid())?,
            "scale" => {
                self.scale = value
                    .parse()
                    .ok()
                    .filter(|scale: &f64| SCALE_RANGE.contains(scale))
                    .ok_or_else(invalid)?;
            }
            "triangulate" => self.triangulate = value.parse().map_err(|_| invalid())?,
            "draco" => self.draco = value.parse().map_err(|_| invalid())?,
            "engine" => self.engine = word(value).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        }
        Ok(())
    }

    /// Whether the options make sense for a result of format `target`.
    ///
    /// # Errors
    /// `invalid_option` when one does not.
    pub fn check(&self, target: Format) -> Result<(), ConversionError> {
        if self.draco && !matches!(target, Format::Glb | Format::Gltf) {
            return Err(ConversionError::new(
                ErrorCode::InvalidOption,
                format!("option draco works for glb and gltf, not for {target}"),
            ));
        }
        Ok(())
    }

    /// Whether the options leave the model itself as it is, so that repacking is enough.
    pub fn allows_repack(&self) -> bool {
        self.animation && (self.scale - 1.0).abs() < f64::EPSILON && !self.triangulate && !self.draco
    }
}

/// Reads one of an enum's lower-case words.
fn word<T: serde::de::DeserializeOwned>(value: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(value.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_table_can_be_set() {
        let mut options = Options::default();
        for info in &TABLE {
            options.set(info.name, info.default).unwrap();
        }
        assert_eq!(options, Options::default());
    }

    #[test]
    fn every_value_that_is_listed_is_taken_and_no_other() {
        let mut options = Options::default();
        for info in &TABLE {
            let (taken, refused) = match info.kind {
                Kind::Boolean => (vec!["true".to_owned(), "false".to_owned()], vec!["yes".to_owned()]),
                Kind::String { values } => {
                    assert_eq!(values.join("|"), info.values);
                    (values.iter().map(ToString::to_string).collect(), vec!["other".to_owned()])
                }
                Kind::Number { minimum, maximum } => {
                    assert_eq!(info.values, format!("number from {minimum} to {maximum}"));
                    (
                        vec![minimum.to_string(), maximum.to_string()],
                        vec![(minimum / 2.0).to_string(), (maximum * 2.0).to_string()],
                    )
                }
            };
            assert!(taken.iter().all(|value| options.set(info.name, value).is_ok()), "{}", info.name);
            assert!(refused.iter().all(|value| options.set(info.name, value).is_err()), "{}", info.name);
        }
    }

    #[test]
    fn wrong_options_are_named() {
        let mut options = Options::default();
        let error = options.set("colour", "red").unwrap_err();
        assert_eq!(error.code, ErrorCode::UnknownOption);
        assert!(error.detail.contains("colour"));
        for (name, value) in
            [("scale", "0"), ("scale", "nan"), ("draco", "yes"), ("packaging", "Zip"), ("engine", "native")]
        {
            let error = options.set(name, value).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidOption);
            assert!(error.detail.contains(name) && error.detail.contains(value), "{}", error.detail);
        }
        let error = options.set("scale", "1e300").unwrap_err();
        assert_eq!(error.detail, "option scale takes a number from 0.000001 to 1000000, not \"1e300\"");
    }
}
