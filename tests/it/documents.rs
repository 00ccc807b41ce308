//! The documents agree with the program.

use std::path::Path;

use meshgate::config::settings;
use meshgate::domain::format::{FormatInfo, TABLE};
use meshgate::domain::{ErrorCode, Feature, options};
use meshgate::jobs::GiveBack;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Every error code, from the schema of the type.
fn codes() -> Vec<String> {
    let schema = schemars::schema_for!(ErrorCode);
    let variants = schema.as_value()["oneOf"].as_array().unwrap();
    let codes: Vec<_> = variants
        .iter()
        .flat_map(|variant| match variant["enum"].as_array() {
            Some(names) => names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
            None => vec![variant["const"].as_str().unwrap().to_owned()],
        })
        .collect();
    assert!(codes.len() >= 27, "{codes:?}");
    codes
}

#[test]
fn every_error_code_is_in_the_troubleshooting_guide() {
    let text = document("docs/TROUBLESHOOTING.md");
    let codes = codes();
    for code in &codes {
        let rows = text.lines().filter(|line| line.starts_with(&format!("| `{code}` |")));
        assert_eq!(rows.count(), 1, "{code} has not exactly one row in docs/TROUBLESHOOTING.md");
    }
    let (_, table) = text.split_once("## Codes").unwrap();
    for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let code = row.split('`').next().unwrap();
        assert!(codes.iter().any(|known| known == code), "{code} is not an error code");
    }
}

fn help(arguments: &[&str]) -> String {
    let output =
        assert_cmd::Command::cargo_bin("meshgate").unwrap().args(arguments).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_readme_has_every_option_and_setting() {
    let text = document("README.md");
    let help = help(&["convert"]);
    let flags = help.split_whitespace().filter(|word| word.starts_with("--"));
    let flags = flags.map(|word| word.split(['[', '=', ',', '.', '`', '<']).next().unwrap());
    let settings = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    let mut counted = 0;
    for name in flags.chain(settings).filter(|name| *name != "--help" && *name != "--") {
        assert!(text.contains(&format!("`{name}")), "{name} is not in README.md");
        counted += 1;
    }
    assert!(counted > 25, "{counted}");
}

/// The rows of the table below `head`, as the texts of their cells.
fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let (_, table) = text.split_once(head).unwrap_or_else(|| panic!("no table {head:?}"));
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.map(cells).filter(|row: &Vec<String>| !row[0].starts_with("---")).collect()
}

/// The features that a row of README's table of formats lists.
fn promised(words: &str) -> Vec<Feature> {
    const WORDS: [(&str, Feature); 13] = [
        ("meshes", Feature::Mesh),
        ("normals", Feature::Normals),
        ("UVs", Feature::Uvs),
        ("vertex colours", Feature::VertexColours),
        ("materials", Feature::Materials),
        ("textures", Feature::Textures),
        ("skeleton", Feature::Skeleton),
        ("skins", Feature::Skin),
        ("blend shapes", Feature::BlendShapes),
        ("animation", Feature::Clips),
        ("cameras", Feature::Cameras),
        ("lights", Feature::Lights),
        ("humanoid", Feature::Humanoid),
    ];
    if words == "everything" {
        return Feature::ALL.to_vec();
    }
    let mut held: Vec<Feature> =
        WORDS.iter().filter(|(word, _)| words.contains(word)).map(|(_, feature)| *feature).collect();
    held.sort();
    held
}

#[test]
fn the_readme_lists_the_formats_correctly() {
    let rows = rows(&document("README.md"), "| format | holds |");
    let listed: Vec<&str> = rows.iter().flat_map(|row| row[0].split(", ")).collect();
    for info in TABLE {
        let count = listed.iter().filter(|name| **name == info.name).count();
        assert_eq!(count, 1, "{} is {count} times in the table of README.md", info.name);
    }
    assert_eq!(listed.len(), TABLE.len(), "{listed:?}");
    for row in &rows {
        for name in row[0].split(", ") {
            let info: &FormatInfo = TABLE.iter().find(|info| info.name == name).unwrap();
            let mut holds = info.holds.to_vec();
            holds.sort();
            assert_eq!(promised(&row[1]), holds, "{name}: {}", row[1]);
            assert_eq!(row[1].contains("one clip"), info.one_clip, "{name}: {}", row[1]);
            assert_eq!(row[1].contains("one mesh"), info.one_mesh, "{name}: {}", row[1]);
        }
    }
}

#[test]
fn the_readme_lists_the_options_correctly() {
    let rows = rows(&document("README.md"), "| option | values | default | |");
    for info in options::TABLE {
        let flag = format!("`--{}`", info.name);
        let row = rows.iter().find(|row| row[0] == flag).unwrap_or_else(|| panic!("{flag} has no row"));
        assert_eq!(row[1], info.values().replace('|', ", "), "{flag}");
        assert_eq!(row[2], info.default_text(), "{flag}");
    }
}

#[test]
fn the_readme_lists_the_server_settings_correctly() {
    let rows = rows(&document("README.md"), "| variable | default | |");
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let info = settings::TABLE.iter().find(|info| format!("`{}`", info.name) == row[0]);
        let info = info.unwrap_or_else(|| panic!("{} is not a setting", row[0]));
        assert_eq!(row[1], info.shown_default(), "{}", info.name);
    }
}

#[test]
fn the_changelog_names_every_format() {
    let text = document("CHANGELOG.md").replace('\n', " ");
    for info in TABLE {
        assert!(
            text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == info.name),
            "{}",
            info.name
        );
    }
}

#[test]
fn the_reasons_of_events_are_documented() {
    let text = document("docs/API.md");
    let (_, events) = text.split_once("- **Events.** ").unwrap();
    let (events, _) = events.split_once("\n- **").unwrap();
    for reason in GiveBack::ALL.map(GiveBack::word) {
        assert!(events.contains(&format!("`{reason}`")), "docs/API.md does not list {reason}");
    }
}

/// The text of all tests below a folder.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(
            |path| {
                if path.is_dir() {
                    sources(&path)
                } else {
                    std::fs::read_to_string(&path).unwrap_or_default()
                }
            },
        )
        .collect()
}

#[test]
fn every_row_of_the_durability_document_has_its_test() {
    let text = document("docs/DURABILITY.md");
    let tests = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"));
    let mut count = 0;
    for table in text.split("\n\n").filter(|table| table.contains("| test |\n")) {
        for row in table.lines().skip(2) {
            let (_, cell) = row.trim_end_matches([' ', '|']).rsplit_once("| ").unwrap();
            for name in cell.split(", ").map(|name| name.trim_matches('`')) {
                assert!(tests.contains(&format!("async fn {name}(")), "{name} is not a test");
                count += 1;
            }
        }
    }
    assert!(count >= 20, "{count}");
}
