//! What the documents promise is what the program has.

use std::path::Path;

use meshgate::domain::ErrorCode;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Every error code, from the schema that is made of the type.
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
fn every_error_code_is_explained() {
    let text = document("docs/TROUBLESHOOTING.md");
    let codes = codes();
    for code in &codes {
        let rows = text.lines().filter(|line| line.starts_with(&format!("| `{code}` |")));
        assert_eq!(rows.count(), 1, "{code} has not exactly one row in docs/TROUBLESHOOTING.md");
    }
    let (_, table) = text.split_once("## Codes").unwrap();
    for row in table.lines().filter_map(|line| line.strip_prefix("| `")) {
        let code = row.split('`').next().unwrap();
        assert!(codes.iter().any(|known| known == code), "{code} is no code any more");
    }
}

fn help(arguments: &[&str]) -> String {
    let output =
        assert_cmd::Command::cargo_bin("meshgate").unwrap().args(arguments).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_option_and_setting_of_the_help_is_in_the_readme() {
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
