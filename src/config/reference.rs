//! Renders the table of settings, as help and in Markdown.

use std::fmt::Write;

use super::setting::{DefaultValue, Info};
use super::settings::{GROUPS, TABLE};

impl Info {
    /// The default, as shown to people.
    pub fn shown_default(&self) -> String {
        match self.default {
            DefaultValue::Value(text) | DefaultValue::Unset(text) => text.to_owned(),
            DefaultValue::Either(development, production) => {
                format!("{development}; in production {production}")
            }
        }
    }

    /// A remark on the other names of the setting.
    fn also(&self) -> String {
        match (self.alias, self.secret) {
            (Some(alias), _) => format!("; also {alias}"),
            (None, true) => format!("; {}_FILE names a file that holds it", self.name),
            (None, false) => String::new(),
        }
    }
}

/// Every setting with its default, for a terminal.
pub fn help() -> String {
    let mut text =
        String::from("Settings are read from the environment, else from FILE, with names in lower case:\n");
    for group in GROUPS {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\n{group}:");
        for info in TABLE.iter().filter(|info| info.group == *group) {
            let (name, help, also, default) = (info.name, info.help, info.also(), info.shown_default());
            let _ = writeln!(text, "  {name}\n          {help}{also} [default: {default}]");
        }
    }
    text.push_str("\nMESHGATE_NAME overrides NAME. An empty variable is unset. See docs/CONFIGURATION.md.");
    text
}

/// Every setting as a table in Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for group in GROUPS {
        let _ = writeln!(text, "### {group}\n\n| name | default | |\n| --- | --- | --- |");
        for info in TABLE.iter().filter(|info| info.group == *group) {
            let (name, help, also, default) = (info.name, info.help, info.also(), info.shown_default());
            let _ = writeln!(text, "| `{name}` | {default} | {help}{also} |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- The tables are made from src/config/settings.rs. -->\n\n";
    const END: &str = "<!-- End of the tables. -->";

    #[test]
    fn the_committed_tables_are_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (tables, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            return std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", markdown())).unwrap();
        }
        assert_eq!(tables, markdown(), "run: UPDATE=1 cargo test --lib config::reference");
    }

    #[test]
    fn the_help_lists_every_setting_with_its_default() {
        let help = help();
        for info in TABLE {
            let (_, after) = help.split_once(&format!("\n  {}\n", info.name)).unwrap();
            let line = after.lines().next().unwrap();
            assert!(line.contains(info.help), "{line}");
            assert!(line.ends_with(&format!("[default: {}]", info.shown_default())), "{line}");
        }
        for group in GROUPS {
            assert_eq!(help.matches(&format!("\n{group}:\n")).count(), 1);
        }
    }
}
