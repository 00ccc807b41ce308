//! `meshgate serve` as far as its settings: help, mistakes, warnings.

use std::fs;
use std::process::Output;

use assert_cmd::Command;
use meshgate::config::settings::TABLE;

/// Runs the program with these variables only.
fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::cargo_bin("meshgate").unwrap();
    command.arg("serve").args(arguments).env_clear().envs(variables.iter().copied());
    command.timeout(std::time::Duration::from_mins(1)).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn help_has_every_setting_with_its_default() {
    for option in ["--help", "-h"] {
        let output = serve(&[option], &[]);
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        for info in TABLE {
            let (_, after) = help.split_once(&format!("\n  {}\n", info.name)).unwrap();
            let line = after.lines().next().unwrap();
            assert!(line.ends_with(&format!("[default: {}]", info.shown_default())), "{}: {line}", info.name);
        }
        assert!(help.contains("--config <FILE>") && help.contains("--check"), "{help}");
    }
}

#[test]
fn every_mistake_is_a_line_and_the_code_is_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meshgate.toml");
    fs::write(&file, "colour = \"red\"\nlog_files = 0\n").unwrap();
    let file = file.to_str().unwrap();
    let variables = [
        ("BIND_ADDRESS", "everywhere"),
        ("WORKERS", "0"),
        ("API_KEYS", "ci:secret"),
        ("API_KEYS_FILE", ""),
        ("MESHGATE_SANDBX", "off"),
    ];
    for arguments in [&["--config", file][..], &["--check", "--config", file]] {
        let output = serve(arguments, &variables);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), ""));
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), 6, "{lines:#?}");
        let warning = "meshgate: warning: MESHGATE_SANDBX is no setting; MESHGATE_SANDBOX or SANDBOX is";
        assert_eq!(lines[0], warning);
        assert!(lines.iter().all(|line| line.starts_with("meshgate: ")), "{lines:#?}");
        for expected in
            ["BIND_ADDRESS takes ", "WORKERS is 0", "API_KEYS takes ", "colour in ", "log_files in "]
        {
            let found = lines.iter().filter(|line| line.starts_with(&format!("meshgate: {expected}")));
            assert_eq!(found.count(), 1, "{expected}: {lines:#?}");
        }
        assert!(!text(&output.stderr).contains("secret"));
    }
}

#[test]
fn an_engine_that_is_named_and_none_is_a_mistake() {
    for arguments in [&[][..], &["--check"]] {
        let output = serve(arguments, &[("BLENDER_PYTHON", "/nowhere/python")]);
        assert_eq!(output.status.code(), Some(64));
        let said = "meshgate: BLENDER_PYTHON is /nowhere/python, which is no executable file\n";
        assert_eq!(text(&output.stderr), said);
    }
}

#[test]
fn what_is_valid_is_said_to_be() {
    let variables = [("APP_ENV", "production"), ("GUNICORN_WORKERS", "3"), ("LOG_LEVL", "info")];
    let output = serve(&["--check"], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "configuration is valid\n");
    assert_eq!(text(&output.stderr), "meshgate: warning: LOG_LEVL is no setting; LOG_LEVEL is\n");
}
