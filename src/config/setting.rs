//! What a setting is.

use std::ffi::OsStr;

use DefaultValue::{Either, Unset, Value};

use super::types::Environment;
use super::values::InvalidValue;

/// The description of a setting.
#[derive(Debug)]
pub struct Info {
    /// The environment variable; in a file, its name in lower case.
    pub name: &'static str,
    /// Another name of the variable, for users of other programs.
    pub alias: Option<&'static str>,
    /// The command-line option of a setting of the engine, and the placeholder of its value.
    pub option: Option<(&'static str, &'static str)>,
    /// The title of its topic.
    pub group: &'static str,
    /// Completes the sentence "NAME takes …".
    pub takes: &'static str,
    pub default: DefaultValue,
    pub help: &'static str,
    /// Whether the value is never shown, and may be read from a file.
    pub secret: bool,
}

/// The default of a setting.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// A value, in the text form of the setting.
    Value(&'static str),
    /// The values in development and in production.
    Either(&'static str, &'static str),
    /// No value; the text describes what applies instead.
    Unset(&'static str),
}

/// A setting whose value is a `T`.
pub struct Setting<T: 'static> {
    pub info: Info,
    pub parse: fn(&OsStr) -> Result<T, InvalidValue>,
}

impl DefaultValue {
    /// The default value in the environment, if there is one.
    pub fn value(self, environment: Environment) -> Option<&'static str> {
        match (self, environment) {
            (Value(text), _)
            | (Either(text, _), Environment::Development)
            | (Either(_, text), Environment::Production) => Some(text),
            (Unset(_), _) => None,
        }
    }
}
