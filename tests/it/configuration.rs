//! The settings of `meshgate serve` and `meshgate worker`: help, mistakes, warnings.

use std::fs;
use std::process::Output;

use assert_cmd::Command;
use meshgate::config::settings::TABLE;

/// A folder on a disk.
const DATA: (&str, &str) = ("DATA_DIR", env!("CARGO_TARGET_TMPDIR"));

/// Runs `serve` with only these variables.
fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    meshgate("serve", arguments, variables)
}

fn meshgate(subcommand: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::cargo_bin("meshgate").unwrap();
    command.arg(subcommand).args(arguments).env_clear().envs(variables.iter().copied());
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
fn every_invalid_setting_is_one_line_and_exits_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meshgate.toml");
    fs::write(&file, "colour = \"red\"\nlog_files = 0\n").unwrap();
    let file = file.to_str().unwrap();
    let variables = [
        ("BIND_ADDRESS", "everywhere"),
        ("WORKERS", "257"),
        ("API_KEYS", "ci:secret"),
        ("API_KEYS_FILE", ""),
        ("MESHGATE_SANDBX", "off"),
    ];
    for arguments in [&["--config", file][..], &["--check", "--config", file]] {
        let output = serve(arguments, &variables);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), ""));
        let lines: Vec<_> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), 6, "{lines:#?}");
        let warning =
            "meshgate: warning: MESHGATE_SANDBX is not a setting; did you mean MESHGATE_SANDBOX or SANDBOX?";
        assert_eq!(lines[0], warning);
        assert!(lines.iter().all(|line| line.starts_with("meshgate: ")), "{lines:#?}");
        for expected in
            ["BIND_ADDRESS takes ", "WORKERS takes ", "API_KEYS takes ", "colour in ", "log_files in "]
        {
            let found = lines.iter().filter(|line| line.starts_with(&format!("meshgate: {expected}")));
            assert_eq!(found.count(), 1, "{expected}: {lines:#?}");
        }
        assert!(!text(&output.stderr).contains("secret"));
    }
}

#[test]
fn missing_files_and_folders_are_configuration_errors() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("file"), "").unwrap();
    let (data, log) = (at("file/data"), at("file/gateway.log"));
    let variables = [
        ("BLENDER_PYTHON", "/nowhere/python"),
        ("BLENDER_BIN", "/nowhere/blender"),
        ("DATA_DIR", data.as_str()),
        ("LOG_FILE", log.as_str()),
        ("BIND_ADDRESS", "0.0.0.0:9000"),
        ("METRICS_ADDRESS", "127.0.0.1:9000"),
        ("STORAGE_URL", "s3://bucket"),
        ("AWS_REQUEST_TIMEOUT", "soon"),
        ("AWS_ALLOW_HTTP", "perhaps"),
        ("WORKERS", "abc"),
    ];
    for arguments in [&[][..], &["--check"]] {
        let output = serve(arguments, &variables);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), ""));
        let mut lines: Vec<_> = text(&output.stderr).lines().collect();
        lines.sort_unstable();
        let expected = [
            "BLENDER_BIN is /nowhere/blender, which is not an executable file",
            "BLENDER_PYTHON is /nowhere/python, which is not an executable file",
            "METRICS_ADDRESS has the port of BIND_ADDRESS",
            "WORKERS takes a number from 0 to 256, not \"abc\"",
            &format!("could not work in {data}/work (set DATA_DIR to work elsewhere): "),
            &format!("could not write a log to {}/gateway.", at("file")),
            "s3://bucket: ",
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(&format!("meshgate: {expected}")), "{line}");
        }
    }
}

/// Tries URLs with a password in several settings of the program.
#[test]
fn no_password_in_a_url_is_printed() {
    for (name, url) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://s3cret@collector:4317/"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317/?api_key=s3cret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317?api_key=s3cret"),
        ("REDIS_URL", "redis://:s3cret@cache:port"),
        ("REDIS_HOST", "redis://:s3cret@cache:6379"),
        ("STORAGE_URL", "s3://me:s3cret@bucket"),
        ("CORS_ORIGINS", "https://me:s3cret@example.org"),
        ("TRUSTED_PROXIES", "http://me:s3cret@proxy:3128"),
    ] {
        for arguments in [&[][..], &["--check"]] {
            let output = serve(arguments, &[(name, url)]);
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), ""), "{name}");
            let said = text(&output.stderr);
            assert!(said.starts_with(&format!("meshgate: {name} takes ")), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

#[test]
fn a_check_creates_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, log) = (at("data"), at("log/gateway.log"));
    let output = serve(&["--check"], &[("DATA_DIR", &data), ("LOG_FILE", &log)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_valid_configuration_is_confirmed() {
    let variables = [("APP_ENV", "production"), ("GUNICORN_WORKERS", "3"), ("LOG_LEVL", "info"), DATA];
    for subcommand in ["serve", "worker"] {
        let output = meshgate(subcommand, &["--check"], &variables);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "configuration is valid\n");
        assert_eq!(
            text(&output.stderr),
            "meshgate: warning: LOG_LEVL is not a setting; did you mean LOG_LEVEL?\n"
        );
    }
}

#[test]
fn a_worker_has_the_options_of_a_server() {
    let output = meshgate("worker", &["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for part in ["--config <FILE>", "--check", "`meshgate serve --help`", "JOBS_REDIS_URL", "DATA_DIR"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let output = meshgate("worker", &["--check", "--config", "/nowhere/meshgate.toml"], &[DATA]);
    assert_eq!(output.status.code(), Some(64));
    let said = text(&output.stderr);
    assert!(said.starts_with("meshgate: could not read /nowhere/meshgate.toml: "), "{said}");
}

#[test]
fn a_worker_without_workers_is_refused() {
    let none = [("WORKERS", "0"), DATA];
    let output = meshgate("worker", &["--check"], &none);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), ""));
    let said = text(&output.stderr);
    assert!(said.starts_with("meshgate: WORKERS is 0, ") && said.lines().count() == 1, "{said}");
    // A gateway may have none.
    let output = serve(&["--check"], &none);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn jobs_that_nobody_would_find_are_warned_about() {
    let home = ("HOME", env!("CARGO_TARGET_TMPDIR"));
    let folder = format!("{}/.cache/meshgate", env!("CARGO_TARGET_TMPDIR"));
    let none = ("WORKERS", "0");
    let redis = ("JOBS_REDIS_URL", "redis://jobs");
    for (subcommand, variables, expected) in [
        ("worker", &[home][..], format!("this worker takes jobs from {folder}, ")),
        (
            "serve",
            &[home, none],
            format!(
                "WORKERS is 0, and neither JOBS_REDIS_URL nor DATA_DIR is set: jobs are kept in {folder}, "
            ),
        ),
        // Without a home, it is the temporary folder.
        ("serve", &[], ", which does not survive a restart of this machine".to_owned()),
    ] {
        let output = meshgate(subcommand, &["--check"], variables);
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output.stderr);
        assert!(said.lines().count() == 1 && said.contains(&expected), "{subcommand}: {said}");
        let output = meshgate(subcommand, &["--check"], &[variables, &[redis]].concat());
        assert_eq!(text(&output.stderr), "", "{subcommand}");
    }
}
