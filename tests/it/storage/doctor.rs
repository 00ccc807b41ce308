//! The store in `doctor`, and settings that are refused before any request.

use std::process::Output;

use assert_cmd::Command;

use super::backend::Backend;
use super::server::Server;

fn meshgate(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("meshgate").unwrap();
    // The engine is disabled, so that the tests are quick.
    command.args(arguments).env("DATA_DIR", data.path()).env("BLENDER_PYTHON", "/bin/false");
    command.envs(variables.iter().copied()).output().unwrap()
}

/// The line of the store in `doctor`.
fn storage(variables: &[(&str, &str)]) -> String {
    let output = meshgate(&["doctor"], variables);
    assert_eq!(output.status.code(), Some(1), "without an engine, doctor fails");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().filter(|line| line.contains(" storage: "));
    let line = lines.next().unwrap_or_else(|| panic!("no line of the store: {text}")).to_owned();
    assert_eq!(lines.next(), None);
    line
}

#[test]
fn the_doctor_reports_working_and_failing_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let name = path.to_str().unwrap();
    assert_eq!(storage(&[("CONVERSION_CACHE_DIR", name)]), format!("✓ storage: {name}"));
    assert_eq!(storage(&[("STORAGE_URL", &format!("file://{name}"))]), format!("✓ storage: {name}"));
    assert!(storage(&[]).ends_with("/store"));
    std::fs::write(folder.path().join("file"), "").unwrap();
    let name = format!("{}/file/store", folder.path().display());
    let line = storage(&[("CONVERSION_CACHE_DIR", &name)]);
    assert_eq!(line, format!("✗ storage: {name}: Not a directory (os error 20)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_reports_working_and_failing_buckets() {
    let server = Server::shared();
    let backend = Backend::bucket().await;
    let url = |bucket: &str| format!("s3://{bucket}/some/prefix");
    let line = |url: String| {
        tokio::task::spawn_blocking(move || {
            storage(&[
                ("STORAGE_URL", url.as_str()),
                ("AWS_ENDPOINT_URL", &server.address),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_ACCESS_KEY_ID", "id"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
            ])
        })
    };
    let works = url(backend.bucket_name());
    assert_eq!(line(works.clone()).await.unwrap(), format!("✓ storage: {works}"));
    let missing = url("missing");
    let said = line(missing.clone()).await.unwrap();
    assert_eq!(said, format!("✗ storage: {missing} does not exist (NoSuchBucket)"));
}

/// Runs the program, since its start chooses the cryptography provider; tests in this process skip that.
#[test]
fn the_doctor_reaches_a_bucket_over_tls() {
    let server = Server::start(&["--port", "0", "--ssl"], &[]);
    let line = storage(&[
        ("STORAGE_URL", "s3://bucket"),
        ("AWS_ENDPOINT_URL", &server.address),
        ("AWS_ALLOW_INVALID_CERTIFICATES", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]);
    assert_eq!(line, "✗ storage: s3://bucket does not exist (NoSuchBucket)");
}

#[test]
fn invalid_storage_settings_are_refused_with_one_line() {
    let http = ("AWS_ENDPOINT", "http://minio:9000");
    let url = ("STORAGE_URL", "s3://bucket");
    for (variables, expected) in [
        (&[("STORAGE_URL", "ftp://host/folder")][..], "STORAGE_URL takes "),
        (&[("STORAGE_URL", "file://host/folder")], "STORAGE_URL takes "),
        (&[("STORAGE_URL", "s3://me:hunter22@bucket")], "STORAGE_URL takes "),
        (&[url, ("CONVERSION_CACHE_DIR", "cache")], "CONVERSION_CACHE_DIR and STORAGE_URL are both set"),
        (&[("RESULT_TTL", "0")], "RESULT_TTL takes "),
        (&[("DATA_MAX_SIZE", "10X")], "DATA_MAX_SIZE takes "),
        (&[("PRESIGN_RESULTS", "perhaps")], "PRESIGN_RESULTS takes "),
        (&[url, http], "the endpoint of the store is http://, which only AWS_ALLOW_HTTP=true allows"),
        (&[url, ("AWS_SECRET_ACCESS_KEY", "hunter22")], "s3://bucket: "),
        (&[("STORAGE_URL", "az://container")], "az://container: "),
        (&[url, ("AWS_ENDPOINT_URL", "minio:9000")], "AWS_ENDPOINT_URL takes a URL like "),
        (&[url, ("AWS_ACCESS_KEY_ID", "hunter22\n")], "AWS_ACCESS_KEY_ID ends with the end of a line"),
        (
            &[("STORAGE_URL", "az://c"), ("AZURE_STORAGE_ENDPOINT", "azurite:1")],
            "AZURE_STORAGE_ENDPOINT takes ",
        ),
        (&[("STORAGE_URL", "s3://bucket/p?secret=hunter22")], "STORAGE_URL takes "),
        (&[("STORAGE_URL", "s3://hunter22@bucket")], "STORAGE_URL takes "),
        (
            &[("STORAGE_URL", "gs://bucket"), ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key")],
            "GOOGLE_APPLICATION_CREDENTIALS: could not read /nowhere/key: No such file",
        ),
        (&[("REDIS_PASSWORD", "hunter22")], "REDIS_PASSWORD is set, but neither REDIS_HOST nor REDIS_URL is"),
    ] {
        for arguments in [&["serve"][..], &["serve", "--check"], &["doctor"]] {
            let output = meshgate(arguments, variables);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{arguments:?} {variables:?}: {said}");
            assert!(output.stdout.is_empty() && said.lines().count() == 1, "{said}");
            assert!(said.starts_with(&format!("meshgate: {expected}")), "{said}");
            assert!(!said.contains("hunter22"), "{said}");
        }
    }
}
