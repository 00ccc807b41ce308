//! Checks of the values of a cloud's variables. The library accepts them as they are, and panics at some when it is used.

use std::fs::File;
use std::io::Read;
use std::str::FromStr;

use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use url::Url;

use crate::config::CloudOptions;

/// The kind of value that a variable holds, as far as it is checked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// The URL of a server.
    Endpoint,
    /// A part of a server's name, and of a header.
    Region,
    /// A part of a header, possibly secret.
    Key,
    /// The name of a file that the library reads when it is opened.
    File,
    Other,
}

pub fn of_s3(key: AmazonS3ConfigKey) -> ValueKind {
    use AmazonS3ConfigKey as K;
    match key {
        K::Endpoint | K::S3Endpoint | K::StsEndpoint | K::MetadataEndpoint => ValueKind::Endpoint,
        K::Region | K::DefaultRegion => ValueKind::Region,
        K::AccessKeyId | K::SecretAccessKey | K::Token => ValueKind::Key,
        _ => ValueKind::Other,
    }
}

pub fn of_gcs(key: GoogleConfigKey) -> ValueKind {
    use GoogleConfigKey as K;
    match key {
        K::BaseUrl => ValueKind::Endpoint,
        K::BearerToken => ValueKind::Key,
        K::ServiceAccount | K::ApplicationCredentials => ValueKind::File,
        _ => ValueKind::Other,
    }
}

pub fn of_azure(key: AzureConfigKey) -> ValueKind {
    use AzureConfigKey as K;
    match key {
        K::Endpoint | K::MsiEndpoint | K::AuthorityHost => ValueKind::Endpoint,
        K::AccountName | K::AccessKey | K::ClientId | K::ClientSecret | K::SasKey | K::Token => {
            ValueKind::Key
        }
        _ => ValueKind::Other,
    }
}

/// Checks every variable that the library knows. The error says what is wrong with the first wrong one, in one sentence
/// without its value.
pub fn check<K: FromStr>(options: &CloudOptions, kind: fn(K) -> ValueKind) -> Result<(), String> {
    for (name, value) in &options.0 {
        let Ok(key) = name.to_ascii_lowercase().parse() else { continue };
        let wrong = match kind(key) {
            ValueKind::Endpoint if !is_endpoint(value) => {
                " takes a URL like https://minio:9000: http:// or https:// and a host, without spaces, a user or a query"
                    .to_owned()
            }
            ValueKind::Region if !is_region(value) => " takes the name of a region like eu-west-1".to_owned(),
            ValueKind::Key if value.ends_with(['\n', '\r']) => " ends with the end of a line, which must go".to_owned(),
            ValueKind::Key if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                " has characters that no header can hold".to_owned()
            }
            ValueKind::File => match read_a_byte(value) {
                Ok(()) => continue,
                Err(error) => format!(": could not read {value}: {error}"),
            },
            _ => continue,
        };
        return Err(format!("{name}{wrong}"));
    }
    Ok(())
}

/// Stricter than the URL parser, which removes spaces, because the library's own parser is strict, too.
fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    let known = |letter: char| letter.is_ascii_alphanumeric() || "-._~:/[]".contains(letter);
    let has_host = rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[');
    has_host && rest.chars().all(known) && text.parse::<Url>().is_ok()
}

fn is_region(text: &str) -> bool {
    text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

fn read_a_byte(path: &str) -> std::io::Result<()> {
    File::open(path)?.read(&mut [0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<K: FromStr>(kind: fn(K) -> ValueKind, name: &str, value: &str) -> Option<String> {
        check(&CloudOptions(vec![(name.to_owned(), value.to_owned())]), kind).err()
    }

    #[test]
    fn an_endpoint_must_be_an_http_url() {
        for name in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"] {
            for right in
                ["http://minio:9000", "https://s3.example.org/", "http://[::1]:9000", "https://a_b/c"]
            {
                assert_eq!(refused(of_s3, name, right), None, "{right}");
            }
            for wrong in [
                "minio:9000",
                " http://minio:9000",
                "http://minio:9000\n",
                "http:minio:9000",
                "http://",
                "http:///minio",
                "http://:9000",
                "http://minio:port",
                "http://minio:99999",
                "https://me:hunter22@minio",
                "https://minio?secret=hunter22",
                "ftp://minio",
            ] {
                let said = refused(of_s3, name, wrong).unwrap_or_else(|| panic!("{name}={wrong:?}"));
                assert!(said.starts_with(&format!("{name} takes a URL ")), "{said}");
                assert!(!said.contains("hunter22") && !said.contains('\n'), "{said}");
            }
        }
        for name in ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", "AZURE_AUTHORITY_HOST"] {
            assert!(refused(of_azure, name, "azurite:10000").is_some_and(|said| said.starts_with(name)));
            assert_eq!(refused(of_azure, name, "http://azurite:10000/me"), None);
        }
        assert!(refused(of_gcs, "GOOGLE_BASE_URL", "gcs:4443").is_some());
        assert!(refused(of_s3, "AWS_REGION", "eu west").is_some());
        assert_eq!(refused(of_s3, "AWS_REGION", "eu-west-1"), None);
    }

    #[test]
    fn credentials_must_be_valid_in_a_header() {
        for (kept, line, strange) in [
            ("hunter22", "hunter22\n", "hunter22\0"),
            ("a b+/=", "hunter22\r\n", "hunter22é"),
            ("x", "hunter22\r", "hunter\n22"),
        ] {
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_TOKEN"] {
                assert_eq!(refused(of_s3, name, kept), None);
                let said = refused(of_s3, name, line);
                assert_eq!(said, Some(format!("{name} ends with the end of a line, which must go")));
                let said = refused(of_s3, name, strange);
                assert_eq!(said, Some(format!("{name} has characters that no header can hold")));
            }
            for name in ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_TOKEN", "AZURE_STORAGE_SAS_KEY"] {
                assert!(refused(of_azure, name, line).is_some() && refused(of_azure, name, kept).is_none());
            }
            assert!(refused(of_gcs, "GOOGLE_BEARER_TOKEN", line).is_some());
        }
        // JSON of several lines, and what the library does not know.
        assert_eq!(refused(of_gcs, "GOOGLE_SERVICE_ACCOUNT_KEY", "{\n}\n"), None);
        assert_eq!(refused(of_s3, "AWS_PROFILE_OF_MINE", "a\n"), None);
    }

    #[test]
    fn a_missing_credentials_file_is_named() {
        for name in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT"] {
            let said = refused(of_gcs, name, "/nowhere/key.json").unwrap();
            assert!(
                said.starts_with(&format!("{name}: could not read /nowhere/key.json: No such file")),
                "{said}"
            );
            assert!(refused(of_gcs, name, "/").is_some());
        }
    }
}
