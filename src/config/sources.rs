//! The sources of settings: options override the environment, which overrides the file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::setting::Info;
use super::settings::{self, FILE, PREFIX};
use super::suggestions;
use super::values::SWITCH;

/// Largest file of settings or secret, in bytes. A larger file is the wrong one.
const LARGEST: u64 = 1 << 20;

/// All values, as text. They may be secrets, so there is no `Debug`.
#[derive(Default)]
pub struct Sources {
    /// By name of the setting: the option as typed, and its value.
    options: BTreeMap<&'static str, (&'static str, OsString)>,
    environment: BTreeMap<OsString, OsString>,
    /// By key, which is a setting's name in lower case.
    file: BTreeMap<String, OsString>,
    file_name: String,
    mistakes: Vec<String>,
}

/// A value and its source.
pub struct SettingValue {
    /// The name of the value there, such as `--jobs` or `workers in FILE`; messages begin with it.
    pub place: String,
    pub value: Value,
}

pub enum Value {
    Plain(OsString),
    Secret(SecretString),
}

impl Value {
    pub fn text(&self) -> &OsStr {
        match self {
            Value::Plain(text) => text,
            Value::Secret(text) => OsStr::new(text.expose_secret()),
        }
    }
}

impl Sources {
    /// The environment of this process.
    pub fn environment() -> Self {
        Self::new(std::env::vars_os())
    }

    /// Creates sources from environment variables; ignores empty ones and those that Kubernetes creates for services.
    pub fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let environment = environment
            .into_iter()
            .filter(|(name, value)| !is_empty(value) && !suggestions::is_service_link(name, value))
            .collect();
        Self { environment, ..Self::default() }
    }

    /// Adds an option of the command line: `option` ("--jobs") gives `setting` its value.
    pub fn add_option(&mut self, setting: &Info, option: &'static str, value: OsString) {
        if !is_empty(&value) {
            self.options.insert(setting.name, (option, value));
        }
    }

    /// Adds a file of settings. Errors in the file are collected like other mistakes.
    pub fn add_file(&mut self, path: &Path) {
        self.file_name = path.display().to_string();
        let text = match read(path) {
            Ok(text) => text,
            Err(why) => return self.mistakes.push(format!("could not read {}: {why}", self.file_name)),
        };
        let table = match toml::from_str::<toml::Table>(text.expose_secret()) {
            Ok(table) => table,
            Err(error) => {
                // The error's text quotes the line, and its message may quote the value; either may be a secret.
                let before = error.span().and_then(|span| text.expose_secret().get(..span.start));
                let line = before.unwrap_or_default().matches('\n').count() + 1;
                return self.mistakes.push(format!("{} is not valid TOML: line {line}", self.file_name));
            }
        };
        for (key, value) in table {
            self.add_key(key, &value);
        }
    }

    fn add_key(&mut self, key: String, value: &toml::Value) {
        let name = key.to_ascii_uppercase();
        let Some(info) = settings::named(&name).filter(|_| key == key.to_ascii_lowercase()) else {
            let likely = suggestions::likely(&name).map(|name| name.to_ascii_lowercase());
            let meant = likely.map(|likely| format!("; did you mean {likely}?")).unwrap_or_default();
            return self.mistakes.push(format!("{key} in {} is not a setting{meant}", self.file_name));
        };
        let takes = if info.name == name { info.takes } else { "the name of a file" };
        match as_text(value) {
            // Only switches take a boolean; `log_file = false` must not name a file `false`.
            Some(_) if value.is_bool() && takes != SWITCH => {
                self.mistakes.push(format!("{key} in {} takes {takes}, not {value}", self.file_name));
            }
            Some(text) if is_empty(OsStr::new(&text)) => {}
            Some(text) => {
                self.file.insert(key, text.into());
            }
            // The value is not shown, since it may hold a secret.
            None => self.mistakes.push(format!("{key} in {} takes {takes}", self.file_name)),
        }
    }

    /// Mistakes in the sources themselves.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// Warnings about variables that are probably misspelled, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.environment.keys().filter_map(|name| suggestions::warning(name.to_str()?)).collect()
    }

    /// The same for a program that is no server: `MESHGATE_API_KEY` is then meant for `meshgate jobs`.
    pub fn warnings_for_users(&self) -> Vec<String> {
        let names = self.environment.keys().filter_map(|name| name.to_str());
        names.filter(|name| !suggestions::is_client_key(name)).filter_map(suggestions::warning).collect()
    }

    /// Variables whose names begin with `prefix`, if they are valid UTF-8. Their values may be secrets.
    pub fn foreign(&self, prefix: &str) -> Vec<(String, String)> {
        let texts =
            self.environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
        let foreign = texts.filter(|(name, _)| name.starts_with(prefix));
        foreign.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// A secret of another program: the variable `name`, or the content of the file in `NAME_FILE`.
    ///
    /// # Errors
    /// As [`Sources::get`].
    pub fn external_secret(&self, name: &str) -> Result<Option<SettingValue>, String> {
        secret(name, |name| self.variable(name))
    }

    fn variable(&self, name: &str) -> Option<(String, OsString)> {
        Some((name.to_owned(), self.environment.get(OsStr::new(name))?.clone()))
    }

    /// The value of a setting, if one is set.
    ///
    /// # Errors
    /// A sentence: two names are both set, or a secret's file cannot be read.
    pub fn get(&self, setting: &Info) -> Result<Option<SettingValue>, String> {
        if let Some((option, value)) = self.options.get(setting.name) {
            return Ok(Some(SettingValue {
                place: (*option).to_owned(),
                value: Value::Plain(value.clone()),
            }));
        }
        let own = |name: &str| self.variable(&format!("{PREFIX}{name}"));
        let plain = |name: &str| self.variable(name);
        let key = |name: &str| {
            let key = name.to_ascii_lowercase();
            self.file.get(&key).map(|value| (format!("{key} in {}", self.file_name), value.clone()))
        };
        if setting.secret {
            // Each pair of names is checked by itself: those without prefix may be another program's.
            let first = secret(setting.name, own).transpose();
            let then = || secret(setting.name, plain).transpose();
            return first.or_else(then).or_else(|| secret(setting.name, key).transpose()).transpose();
        }
        let variable = |name: &str| own(name).or_else(|| plain(name));
        Ok(variable(setting.name)
            .or_else(|| variable(setting.alias?))
            .or_else(|| key(setting.name))
            .map(|(place, value)| SettingValue { place, value: Value::Plain(value) }))
    }
}

/// Reads a secret, or the file that holds it, from `source`.
fn secret(
    name: &str,
    source: impl Fn(&str) -> Option<(String, OsString)>,
) -> Result<Option<SettingValue>, String> {
    let (place, value) = match (source(name), source(&format!("{name}{FILE}"))) {
        (None, None) => return Ok(None),
        (Some((place, _)), Some((file, _))) => {
            return Err(format!("{place} and {file} are both set; unset one of them"));
        }
        (Some((place, value)), None) => {
            let value = value.into_string().map_err(|_| format!("{place} is not valid UTF-8"))?;
            (place, SecretString::from(value))
        }
        (None, Some((place, path))) => {
            let path = Path::new(&path);
            let text =
                read(path).map_err(|why| format!("{place}: could not read {}: {why}", path.display()))?;
            let line = text.expose_secret();
            let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
            // An empty secret must not count as unset: that would turn access control off.
            if line.trim().is_empty() {
                return Err(format!("{place}: {} is empty", path.display()));
            }
            (place, SecretString::from(line))
        }
    };
    Ok(Some(SettingValue { place, value: Value::Secret(value) }))
}

fn is_empty(value: &OsStr) -> bool {
    value.to_str().is_some_and(|text| text.trim().is_empty())
}

/// Reads a file's text, which may be secret.
fn read(path: &Path) -> Result<SecretString, String> {
    let mut text = String::new();
    let length = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    let text = SecretString::from(text);
    match length {
        Ok(length) if length as u64 > LARGEST => Err("it is too large".to_owned()),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

/// A TOML value as the environment would hold it; lists are separated by commas.
fn as_text(value: &toml::Value) -> Option<String> {
    let toml::Value::Array(values) = value else { return one_as_text(value) };
    let texts: Option<Vec<_>> = values.iter().map(one_as_text).collect();
    Some(texts?.join(","))
}

fn one_as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
