//! Opens the backend that the settings name.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::ClientConfigKey;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::signer::Signer;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::backend::Backend;
use super::bucket::Bucket;
use super::cloud_options::{self, ValueKind, of_azure, of_gcs, of_s3};
use super::error::innermost;
use super::local::Local;
use crate::config::{self, CloudOptions};

/// The time limits of connecting, of waiting for the next bytes, and of one request with all its bytes. The environment
/// can override them: `AWS_CONNECT_TIMEOUT`, `AWS_READ_TIMEOUT`, `AWS_TIMEOUT`.
const TIMEOUTS: [(ClientConfigKey, &str); 3] = [
    (ClientConfigKey::ConnectTimeout, "3s"),
    (ClientConfigKey::ReadTimeout, "20s"),
    (ClientConfigKey::Timeout, "10m"),
];

/// A request is repeated so often, and not after this time.
const RETRIES: usize = 3;
const RETRY_WITHIN: Duration = Duration::from_secs(10);

/// Opens the backend of the settings, or a folder `default` where they name none. Sends no request yet. The
/// error says in one sentence what is wrong with the settings.
pub fn open(config: &config::Storage, default: &Path) -> Result<Box<dyn Backend>, String> {
    Ok(match &config.location {
        None => Box::new(Local::open(default)?),
        Some(config::Location::Folder(path)) => Box::new(Local::open(path)?),
        Some(config::Location::Bucket(url, options)) => Box::new(bucket(url, options, config.ttl)?),
    })
}

fn bucket(url: &Url, options: &CloudOptions, ttl: Duration) -> Result<Bucket, String> {
    let name = url.as_str().trim_end_matches('/').to_owned();
    // Builders refuse only switches, times and names, so that their errors quote no secret.
    let wrong = |error: object_store::Error| format!("{name}: {}", reason(&error));
    let (scheme, base) = ObjectStoreScheme::parse(url).map_err(|error| wrong(error.into()))?;
    let (store, signer): (Arc<dyn ObjectStore>, Arc<dyn Signer>) = match scheme {
        ObjectStoreScheme::AmazonS3 => as_both(s3(url, options)?.build().map_err(wrong)?),
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = GoogleCloudStorageBuilder::new().with_retry(retries()).with_url(url.as_str());
            let with = GoogleCloudStorageBuilder::with_config;
            let builder = configure(builder, options, of_gcs, GoogleConfigKey::Client, with)?;
            as_both(builder.build().map_err(wrong)?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = MicrosoftAzureBuilder::new().with_retry(retries()).with_url(url.as_str());
            let with = MicrosoftAzureBuilder::with_config;
            let builder = configure(builder, options, of_azure, AzureConfigKey::Client, with)?;
            as_both(builder.build().map_err(wrong)?)
        }
        // The configuration accepts no other scheme.
        _ => return Err(format!("{name} is not a store")),
    };
    Ok(Bucket { name, store, signer, base, ttl })
}

fn s3(url: &Url, options: &CloudOptions) -> Result<AmazonS3Builder, String> {
    let builder = AmazonS3Builder::new().with_retry(retries()).with_url(url.as_str());
    let with = AmazonS3Builder::with_config;
    let builder = configure(builder, options, of_s3, AmazonS3ConfigKey::Client, with)?;
    // The library refuses this only when it is used, with an error that helps nobody.
    let value = |key| builder.get_config_value(&key).unwrap_or_default();
    let endpoints = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint].map(value);
    let endpoint = endpoints.iter().find(|endpoint| !endpoint.is_empty());
    let allowed = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).to_ascii_lowercase();
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    if is_plain && !["true", "1", "on", "yes", "y"].contains(&allowed.as_str()) {
        return Err("the endpoint of the store is http://, which only AWS_ALLOW_HTTP=true allows".to_owned());
    }
    Ok(builder)
}

/// Sets our own options and then those of the environment that the library knows, after checking these.
fn configure<B, K: FromStr>(
    builder: B,
    options: &CloudOptions,
    kind: fn(K) -> ValueKind,
    of_client: fn(ClientConfigKey) -> K,
    with: fn(B, K, String) -> B,
) -> Result<B, String> {
    cloud_options::check(options, kind)?;
    let own = TIMEOUTS.into_iter().map(|(key, value)| (of_client(key), value));
    let known = options.0.iter();
    let known = known.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, &**value)));
    Ok(own.chain(known).fold(builder, |builder, (key, value)| with(builder, key, value.to_owned())))
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_WITHIN, ..RetryConfig::default() }
}

fn as_both<S: ObjectStore + Signer>(store: S) -> (Arc<dyn ObjectStore>, Arc<dyn Signer>) {
    let store = Arc::new(store);
    (Arc::clone(&store) as _, store)
}

/// Returns the text of the innermost cause, without the library's "Generic S3 error: ".
fn reason(error: &object_store::Error) -> String {
    let innermost = innermost(error);
    let Some(json) = innermost.downcast_ref::<serde_json::Error>() else { return innermost.to_string() };
    // The text of this error may quote the credentials.
    let (line, column) = (json.line(), json.column());
    format!("the credentials are not as Google writes them (line {line}, column {column})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str, options: &[(&str, &str)]) -> Result<Bucket, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        bucket(&url.parse().unwrap(), &CloudOptions(options.collect()), Duration::from_hours(24))
    }

    #[test]
    fn every_cloud_keeps_the_path_prefix() {
        let key = ("AWS_ACCESS_KEY_ID", "id");
        let s3 = [key, ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-west-1")];
        let gcs = [("GOOGLE_SKIP_SIGNATURE", "true")];
        let azure = [("AZURE_STORAGE_ACCOUNT_NAME", "me"), ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")];
        for (url, options) in
            [("s3://bucket/a/b", &s3[..]), ("gs://bucket/a/b/", &gcs), ("az://container/a/b", &azure)]
        {
            let bucket = open(url, options).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(bucket.base.as_ref(), "a/b");
            assert_eq!(bucket.name, url.trim_end_matches('/'));
        }
    }

    #[test]
    fn invalid_cloud_options_are_refused() {
        for (options, expected) in [
            (&[("AWS_ACCESS_KEY_ID", "id")][..], "SecretAccessKey"),
            (&[("AWS_ALLOW_HTTP", "maybe")], "maybe"),
            (&[("AWS_CONNECT_TIMEOUT", "soon")], "soon"),
            (&[("AWS_ENDPOINT", "http://minio:9000")], "AWS_ALLOW_HTTP=true"),
            (&[("AWS_ENDPOINT_URL_S3", "http://minio:9000"), ("AWS_ALLOW_HTTP", "0")], "AWS_ALLOW_HTTP=true"),
        ] {
            let error = open("s3://bucket", options).err().unwrap_or_else(|| panic!("{options:?}"));
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
        assert!(open("az://container", &[]).is_err());
        let http = [("AWS_ENDPOINT", "http://minio:9000"), ("AWS_ALLOW_HTTP", "True")];
        assert!(open("s3://bucket", &http).is_ok());
    }

    #[test]
    fn malformed_credentials_are_not_quoted() {
        let error = open("gs://bucket", &[("GOOGLE_SERVICE_ACCOUNT_KEY", "\"hunter22\"")]).err().unwrap();
        assert_eq!(error, "gs://bucket: the credentials are not as Google writes them (line 1, column 10)");
        let key = [("GOOGLE_SERVICE_ACCOUNT_KEY", "{\"private_key\": {\"hunter22\": 1}}")];
        let error = open("gs://bucket", &key).err().unwrap();
        assert!(error.contains("not as Google writes them") && !error.contains("hunter22"), "{error}");
    }

    #[test]
    fn options_that_would_panic_are_refused() {
        let key = [("AWS_ACCESS_KEY_ID", "id\n"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        for (url, options, expected) in [
            ("s3://bucket", &key[..], "AWS_ACCESS_KEY_ID ends "),
            ("s3://bucket", &[("AWS_ENDPOINT_URL", "minio:9000")], "AWS_ENDPOINT_URL takes "),
            (
                "az://container",
                &[("AZURE_STORAGE_ENDPOINT", "azurite:10000")],
                "AZURE_STORAGE_ENDPOINT takes ",
            ),
            (
                "gs://bucket",
                &[("GOOGLE_SERVICE_ACCOUNT", "/nowhere")],
                "GOOGLE_SERVICE_ACCOUNT: could not read ",
            ),
        ] {
            let error = open(url, options).err().unwrap_or_else(|| panic!("{options:?}"));
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
