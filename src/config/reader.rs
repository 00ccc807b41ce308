//! Values from sources: every mistake is collected, none ends the reading.

use std::fmt;

use super::settings::{self, Setting};
use super::values::{Wrong, may_hold_secret};
use super::{Environment, Sources};

/// Everything that is wrong, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    /// A line each.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

/// Reads settings, each once.
pub struct Reader<'a> {
    sources: &'a Sources,
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

    /// One value that was given, whatever is wrong with others.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn only<T>(sources: &'a Sources, setting: &Setting<T>) -> Result<Option<T>, Mistakes> {
        let mut reader = Self::without_environment(sources);
        let value = reader.given(setting);
        reader.finish(value)
    }

    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// The value that was given; `None` also where it is wrong.
    pub fn given<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        self.given_if(setting, |_| true)
    }

    /// The same of a setting that takes less here than elsewhere.
    pub fn given_if<T>(&mut self, setting: &Setting<T>, fits: impl Fn(&T) -> bool) -> Option<T> {
        #[cfg(test)]
        self.asked.push(setting.info.name);
        let given = match self.sources.get(&setting.info) {
            Ok(given) => given?,
            Err(mistake) => {
                self.mistakes.push(mistake);
                return None;
            }
        };
        let text = given.value.text();
        let wrong = match (setting.parse)(text) {
            Ok(value) if fits(&value) => return Some(value),
            Ok(_) => Wrong::Value,
            Err(wrong) => wrong,
        };
        let (place, takes) = (given.place, setting.info.takes);
        let shown = match wrong {
            Wrong::Because(why) => {
                self.mistakes.push(format!("{place} takes {takes}: {why}"));
                return None;
            }
            Wrong::Part(part) => part,
            Wrong::Value => text.to_string_lossy().trim().to_owned(),
        };
        self.mistakes.push(if setting.info.secret {
            format!("{place} takes {takes}")
        } else if may_hold_secret(&shown) {
            format!("{place} takes {takes}; its value is not shown, as it may hold a secret")
        } else {
            format!("{place} takes {takes}, not {shown:?}")
        });
        None
    }

    /// The value that was given, or the one that holds without.
    ///
    /// # Panics
    /// When the setting's own default is no value for it, which a test excludes.
    pub fn read<T>(&mut self, setting: &Setting<T>) -> T {
        self.given(setting).unwrap_or_else(|| self.usual(setting))
    }

    /// The value that holds where nothing was given.
    ///
    /// # Panics
    /// As [`Reader::read`].
    pub fn usual<T>(&self, setting: &Setting<T>) -> T {
        let usual = setting.info.usual.value(self.environment).unwrap_or_default();
        (setting.parse)(usual.as_ref())
            .unwrap_or_else(|wrong| panic!("the default of {} is wrong: {wrong:?}", setting.info.name))
    }

    /// Whether anything was given, be it wrong.
    pub fn is_set<T>(&self, setting: &Setting<T>) -> bool {
        !matches!(self.sources.get(&setting.info), Ok(None))
    }

    /// The variables whose names begin like this, which are no settings of ours.
    pub fn foreign(&self, prefix: &str) -> Vec<(String, String)> {
        self.sources.foreign(prefix)
    }

    /// Such a variable that is a secret, or what is in the file that another one names.
    pub fn foreign_secret(&mut self, name: &str) -> Option<String> {
        match self.sources.foreign_secret(name) {
            Ok(given) => Some(given?.value.text().to_str()?.to_owned()),
            Err(sentence) => {
                self.mistakes.push(sentence);
                None
            }
        }
    }

    /// Notes a mistake that only several values together make.
    pub fn mistake(&mut self, sentence: String) {
        self.mistakes.push(sentence);
    }

    /// What was made of the values.
    ///
    /// # Errors
    /// When there were mistakes.
    pub fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() { Ok(value) } else { Err(Mistakes(self.mistakes)) }
    }
}
