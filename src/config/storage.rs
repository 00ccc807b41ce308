//! The settings of the store and the cache.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::reader::Reader;
use super::settings;

/// The store of results and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `None`: a folder beside the work folder.
    pub location: Option<Location>,
    /// Lifetime of results and reports.
    pub ttl: Duration,
    /// Largest size of the store, in bytes.
    pub max_bytes: u64,
    /// Whether clients are redirected to the bucket.
    pub presign: bool,
}

/// The limits of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Lifetime of an entry.
    pub duration: Duration,
    /// Largest total size of the cached results in a process without Redis, in bytes.
    pub max_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Folder(PathBuf),
    /// An `s3://`, `gs://` or `az://` URL, with the cloud's variables from the environment.
    Bucket(Url, CloudOptions),
}

/// Variables of a cloud (`AWS_…`, `GOOGLE_…`, `AZURE_…`) with their values. They hold secrets, so values are never
/// shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CloudOptions(pub Vec<(String, String)>);

impl Storage {
    pub fn read(reader: &mut Reader) -> Storage {
        let url = reader.given(&settings::STORAGE_URL);
        let folder = reader.given(&settings::CONVERSION_CACHE_DIR);
        let location = match (url, folder) {
            (Some(_), Some(_)) => {
                reader.mistake("CONVERSION_CACHE_DIR and STORAGE_URL are both set; unset one of them");
                None
            }
            (Some(url), None) => Some(location(url, reader)),
            (None, Some(folder)) => Some(Location::Folder(folder)),
            (None, None) => None,
        };
        Storage {
            location,
            ttl: reader.read(&settings::RESULT_TTL),
            max_bytes: reader.read(&settings::DATA_MAX_SIZE),
            presign: reader.read(&settings::PRESIGN_RESULTS),
        }
    }
}

impl Cache {
    /// Reads the settings; `None` if the cache is off.
    pub fn read(reader: &mut Reader) -> Option<Cache> {
        let on = reader.read(&settings::CACHE);
        let cache = Cache {
            duration: reader.read(&settings::CACHE_DURATION),
            max_bytes: reader.read(&settings::CACHE_MAX_SIZE),
        };
        on.then_some(cache)
    }
}

/// Secrets of clouds. `NAME_FILE` may name a file that holds one, as for Meshgate's own secrets.
const SECRETS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_SAS_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
];

fn location(url: Url, reader: &mut Reader) -> Location {
    let prefix = match url.scheme() {
        "s3" => "AWS_",
        "gs" => "GOOGLE_",
        "az" => "AZURE_",
        // The parser has checked that the URL is a path.
        _ => return Location::Folder(url.to_file_path().unwrap_or_default()),
    };
    let mut options = reader.sources.foreign(prefix);
    for secret in SECRETS.iter().filter(|name| name.starts_with(prefix)) {
        options.retain(|(name, _)| name.strip_suffix("_FILE").unwrap_or(name) != *secret);
        options.extend(reader.external_secret(secret).map(|value| ((*secret).to_owned(), value)));
    }
    Location::Bucket(url, CloudOptions(options))
}

impl fmt::Debug for CloudOptions {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
