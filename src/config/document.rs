//! The table of settings as help and as a document.

use std::fmt::Write;

use super::settings::{Group, Info, TABLE, Usual};

impl Info {
    /// What holds where nothing is set, in words.
    pub fn shown_default(&self) -> String {
        match self.usual {
            Usual::Value(value) => value.to_owned(),
            Usual::Either(development, production) => format!("{development}; in production {production}"),
            Usual::Unset(words) => words.to_owned(),
        }
    }

    /// The other names, as a remark.
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
    let mut text = String::from(
        "Settings are read from the environment, else from FILE, where their names are in lower case:\n",
    );
    for group in Group::ALL {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "\n{}:", group.title());
        for info in TABLE.iter().filter(|info| info.group == group) {
            let _ = writeln!(text, "  {}", info.name);
            let _ =
                writeln!(text, "          {}{} [default: {}]", info.help, info.also(), info.shown_default());
        }
    }
    text.push_str("\nMESHGATE_NAME means NAME and comes first. An empty variable is unset. docs/CONFIGURATION.md says more.");
    text
}

/// Every setting as a table in Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let _ = writeln!(text, "### {}\n\n| name | default | |\n| --- | --- | --- |", group.title());
        for info in TABLE.iter().filter(|info| info.group == group) {
            let _ = writeln!(
                text,
                "| `{}` | {} | {}{} |",
                info.name,
                info.shown_default(),
                info.help,
                info.also()
            );
        }
        text.push('\n');
    }
    text
}
