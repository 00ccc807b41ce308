//! The options of a conversion, under one name for the command line and the HTTP API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// The name of its field in [`Options`].
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

/// Every option, in the order in which they are listed to people.
pub static TABLE: &[OptionInfo] = &[
    OptionInfo {
        name: "packaging",
        kind: Kind::String { values: &["auto", "single", "zip"] },
        help: "how results of several files are delivered",
    },
    OptionInfo { name: "animation", kind: Kind::Boolean, help: "convert animation clips" },
    OptionInfo {
        name: "scale",
        kind: Kind::Number { minimum: SMALLEST_SCALE, maximum: LARGEST_SCALE },
        help: "scale the model by this factor",
    },
    OptionInfo { name: "triangulate", kind: Kind::Boolean, help: "cut polygons into triangles" },
    OptionInfo { name: "draco", kind: Kind::Boolean, help: "compress meshes with Draco (glb and gltf only)" },
    OptionInfo {
        name: "engine",
        kind: Kind::String { values: &["auto", "blender"] },
        help: "repack glb, gltf, vrm and vrma without Blender if lossless (auto), or always use Blender (blender)",
    },
];

/// The range of `scale`: beyond it floats lose the model.
const SMALLEST_SCALE: f64 = 1e-6;
const LARGEST_SCALE: f64 = 1e6;

impl OptionInfo {
    /// The possible values, for people: `auto|single|zip`, `number from 0 to 1`.
    pub fn values(&self) -> String {
        match self.kind {
            Kind::Boolean => "true|false".to_owned(),
            Kind::Number { minimum, maximum } => format!("number from {minimum} to {maximum}"),
            Kind::String { values } => values.join("|"),
        }
    }

    /// The value that a conversion has if none is given.
    pub fn default(&self) -> Value {
        let mut defaults = serde_json::to_value(Options::default()).unwrap_or_default();
        let default = defaults.get_mut(self.name).map(Value::take).unwrap_or_default();
        // A whole number has no decimals.
        match default.as_f64() {
            Some(number) if number.fract() == 0.0 => Value::from(number as i64),
            _ => default,
        }
    }

    /// The default as people write it.
    pub fn default_text(&self) -> String {
        match self.default() {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Reads a value as people write it; `None` if it is not possible.
    fn parse(&self, text: &str) -> Option<Value> {
        match self.kind {
            Kind::Boolean => text.parse::<bool>().ok().map(Value::from),
            Kind::Number { minimum, maximum } => {
                let number = text.parse::<f64>().ok();
                number.filter(|number| (minimum..=maximum).contains(number)).map(Value::from)
            }
            Kind::String { values } => values.contains(&text).then(|| Value::from(text)),
        }
    }
}

impl Options {
    pub fn exists(name: &str) -> bool {
        TABLE.iter().any(|info| info.name == name)
    }

    /// Sets the option `name` from its text.
    ///
    /// # Errors
    /// `unknown_option` or `invalid_option`; the sentence names the option and its values.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), ConversionError> {
        let Some(info) = TABLE.iter().find(|info| info.name == name) else {
            let names: Vec<_> = TABLE.iter().map(|info| info.name).collect();
            let detail = format!("unknown option {name:?}; the options are {}", names.join(", "));
            return Err(ConversionError::new(ErrorCode::UnknownOption, detail));
        };
        let changed = info.parse(text).and_then(|value| {
            let mut options = serde_json::to_value(&*self).ok()?;
            *options.get_mut(name)? = value;
            serde_json::from_value(options).ok()
        });
        let invalid = || {
            let article = if matches!(info.kind, Kind::Number { .. }) { "a " } else { "" };
            let detail = format!("option {name} takes {article}{}, not {text:?}", info.values());
            ConversionError::new(ErrorCode::InvalidOption, detail)
        };
        *self = changed.ok_or_else(invalid)?;
        Ok(())
    }

    /// Whether the options make sense for a result of format `target`.
    ///
    /// # Errors
    /// `invalid_option` when one does not.
    pub fn check(&self, target: Format) -> Result<(), ConversionError> {
        if self.draco && !supports_draco(target) {
            return Err(ConversionError::new(
                ErrorCode::InvalidOption,
                format!("option draco works for glb and gltf, not for {target}"),
            ));
        }
        Ok(())
    }

    /// The same options without those that [`check`](Options::check) refuses for `target`.
    #[must_use]
    pub fn supported_by(mut self, target: Format) -> Self {
        self.draco &= supports_draco(target);
        self
    }

    /// Whether the options leave the model itself as it is, so that repacking is enough.
    pub fn allows_repack(&self) -> bool {
        self.animation && (self.scale - 1.0).abs() < f64::EPSILON && !self.triangulate && !self.draco
    }
}

fn supports_draco(target: Format) -> bool {
    matches!(target, Format::Glb | Format::Gltf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_accepts_its_default() {
        let mut options = Options::default();
        for info in TABLE {
            options.set(info.name, &info.default_text()).unwrap();
        }
        assert_eq!(options, Options::default());
    }

    #[test]
    fn only_listed_option_values_are_accepted() {
        let mut options = Options::default();
        for info in TABLE {
            let (taken, refused) = match info.kind {
                Kind::Boolean => (vec!["true".to_owned(), "false".to_owned()], vec!["yes".to_owned()]),
                Kind::String { values } => {
                    (values.iter().map(ToString::to_string).collect(), vec!["other".to_owned()])
                }
                Kind::Number { minimum, maximum } => (
                    vec![minimum.to_string(), maximum.to_string()],
                    vec![(minimum / 2.0).to_string(), (maximum * 2.0).to_string()],
                ),
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
