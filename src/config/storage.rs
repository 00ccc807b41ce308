//! Where results are kept, and for how long.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{Reader, settings};

/// The store of results and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// `None`: a folder beside the one where conversions work.
    pub place: Option<Place>,
    /// How long results and reports are kept.
    pub ttl: Duration,
    /// Bytes of all that is kept.
    pub max_bytes: u64,
    /// Clients may be sent to the bucket itself.
    pub presign: bool,
}

/// What is remembered of conversions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// How long a result is found again.
    pub duration: Duration,
    /// Bytes of the results that a process alone remembers.
    pub max_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Folder(PathBuf),
    /// `s3://`, `gs://` or `az://`, with what the environment says of that cloud.
    Bucket(Url, CloudOptions),
}

/// Variables of a cloud (`AWS_…`, `GOOGLE_…`, `AZURE_…`) with their values. They hold its secrets, so that nothing of
/// them is ever shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CloudOptions(pub Vec<(String, String)>);

impl Storage {
    pub fn read(reader: &mut Reader) -> Storage {
        let url = reader.given(&settings::STORAGE_URL);
        let folder = reader.given(&settings::CONVERSION_CACHE_DIR);
        let place = match (url, folder) {
            (Some(_), Some(_)) => {
                let both = "CONVERSION_CACHE_DIR and STORAGE_URL are both set; one of them must go";
                reader.mistake(both.to_owned());
                None
            }
            (Some(url), None) => Some(place(url, reader)),
            (None, Some(folder)) => Some(Place::Folder(folder)),
            (None, None) => None,
        };
        Storage {
            place,
            ttl: reader.read(&settings::RESULT_TTL),
            max_bytes: reader.read(&settings::DATA_MAX_SIZE),
            presign: reader.read(&settings::PRESIGN_RESULTS),
        }
    }
}

impl Cache {
    /// `None`: it is off.
    pub fn read(reader: &mut Reader) -> Option<Cache> {
        let on = reader.read(&settings::CACHE);
        let cache = Cache {
            duration: reader.read(&settings::CACHE_DURATION),
            max_bytes: reader.read(&settings::CACHE_MAX_SIZE),
        };
        on.then_some(cache)
    }
}

/// What clouds are shown that nobody may see: these can be in files, too, as secrets of ours.
const SECRETS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_SAS_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
];

fn place(url: Url, reader: &mut Reader) -> Place {
    let prefix = match url.scheme() {
        "s3" => "AWS_",
        "gs" => "GOOGLE_",
        "az" => "AZURE_",
        // Whether it is a path was checked with the value.
        _ => return Place::Folder(url.to_file_path().unwrap_or_default()),
    };
    let mut options = reader.foreign(prefix);
    for secret in SECRETS.iter().filter(|name| name.starts_with(prefix)) {
        options.retain(|(name, _)| name.strip_suffix("_FILE").unwrap_or(name) != *secret);
        options.extend(reader.foreign_secret(secret).map(|value| ((*secret).to_owned(), value)));
    }
    Place::Bucket(url, CloudOptions(options))
}

impl fmt::Debug for CloudOptions {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
