//! Reads typed values from the sources; collects every mistake, where crates for this stop at the first.

use std::fmt;

use super::setting::Setting;
use super::settings;
use super::sources::{SettingValue, Sources};
use super::types::Environment;
use super::values::{InvalidValue, may_hold_secret};

/// All mistakes, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    /// Writes a line for each mistake.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

/// Reads settings, each once.
pub struct Reader<'a> {
    pub(super) sources: &'a Sources,
    environment: Environment,
    mistakes: Vec<String>,
    #[cfg(test)]
    pub(super) asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        let mut reader = Self::without_environment(sources);
        reader.environment = reader.read(&settings::APP_ENV);
        reader
    }

    fn without_environment(sources: &'a Sources) -> Self {
        Reader {
            sources,
            environment: Environment::Development,
            mistakes: sources.mistakes().to_vec(),
            #[cfg(test)]
            asked: Vec::new(),
        }
    }

    /// Reads one setting and ignores mistakes in others.
    ///
    /// # Errors
    /// When its value is wrong.
    pub fn only<T>(sources: &'a Sources, setting: &Setting<T>) -> Result<Option<T>, Mistakes> {
        let mut reader = Self::without_environment(sources);
        let value = reader.given(setting);
        reader.finish(value)
    }

    /// Returns the value if it is set and valid; notes a mistake if it is wrong.
    pub fn given<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        #[cfg(test)]
        self.asked.push(setting.info.name);
        let given = self.found(self.sources.get(&setting.info))?;
        let text = given.value.text();
        let wrong = match (setting.parse)(text) {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        let detail = match wrong {
            InvalidValue::Because(why) => format!(": {why}"),
            _ if setting.info.secret => String::new(),
            InvalidValue::Part(part) => quoted(&part),
            InvalidValue::Value => quoted(text.to_string_lossy().trim()),
        };
        self.mistakes.push(format!("{} takes {}{detail}", given.place, setting.info.takes));
        None
    }

    /// Notes the mistake if the sources could not say what is set.
    fn found(&mut self, given: Result<Option<SettingValue>, String>) -> Option<SettingValue> {
        given.unwrap_or_else(|mistake| {
            self.mistakes.push(mistake);
            None
        })
    }

    /// Returns the value that is set, else the default.
    ///
    /// # Panics
    /// When the setting's own default is invalid, which a test excludes.
    pub fn read<T>(&mut self, setting: &Setting<T>) -> T {
        self.given(setting).unwrap_or_else(|| self.default(setting))
    }

    /// Returns the default.
    ///
    /// # Panics
    /// As [`Reader::read`].
    pub fn default<T>(&self, setting: &Setting<T>) -> T {
        let default = setting.info.default.value(self.environment).unwrap_or_default();
        (setting.parse)(default.as_ref())
            .unwrap_or_else(|wrong| panic!("the default of {} is wrong: {wrong:?}", setting.info.name))
    }

    /// Whether a value is set, valid or not.
    pub fn is_set<T>(&self, setting: &Setting<T>) -> bool {
        !matches!(self.sources.get(&setting.info), Ok(None))
    }

    /// A secret of another program: the variable `name`, or the content of the file in `NAME_FILE`.
    pub fn external_secret(&mut self, name: &str) -> Option<String> {
        let given = self.found(self.sources.external_secret(name))?;
        Some(given.value.text().to_str()?.to_owned())
    }

    /// Notes a mistake in the combination of several settings.
    pub fn mistake(&mut self, sentence: impl Into<String>) {
        self.mistakes.push(sentence.into());
    }

    /// Returns `value` if there are no mistakes.
    ///
    /// # Errors
    /// All mistakes.
    pub fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(value) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// The wrong value as the end of a sentence.
fn quoted(value: &str) -> String {
    if may_hold_secret(value) {
        return "; its value is not shown, as it may hold a secret".to_owned();
    }
    format!(", not {value:?}")
}
