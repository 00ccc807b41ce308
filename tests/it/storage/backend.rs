//! A store of either kind, with direct access to its data.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt;
use meshgate::config;
use meshgate::storage::{Hash, Storage};

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};

use super::server::Server;

/// The prefix in `Server::location`.
const PREFIX: &str = "some/prefix/";

pub struct Backend {
    pub config: config::Storage,
    raw: Raw,
    /// The folder for fetched results and for source files.
    pub spool: tempfile::TempDir,
}

enum Raw {
    Folder(tempfile::TempDir),
    /// The bucket's URL, and direct access to its objects.
    Bucket(String, Box<dyn ObjectStore>),
}

impl Backend {
    pub fn folder() -> Backend {
        let folder = tempfile::tempdir().unwrap();
        let location = config::Location::Folder(folder.path().join("store"));
        Backend::new(location, Raw::Folder(folder))
    }

    pub async fn bucket() -> Backend {
        Backend::bucket_on(Server::shared(), &[]).await
    }

    pub async fn bucket_on(server: &Server, options: &[(&str, &str)]) -> Backend {
        let bucket = format!("b{}", uuid::Uuid::now_v7().simple());
        let url = format!("{}/{bucket}", server.address);
        let objects = AmazonS3Builder::new()
            .with_endpoint(&server.address)
            .with_allow_http(true)
            .with_access_key_id("id")
            .with_secret_access_key("secret")
            .with_bucket_name(&bucket);
        let objects = Box::new(objects.build().unwrap());
        let backend = Backend::new(server.location(&bucket, options), Raw::Bucket(url, objects));
        backend.make_bucket().await;
        backend
    }

    fn new(location: config::Location, raw: Raw) -> Backend {
        let config = config::Storage {
            location: Some(location),
            ttl: Duration::from_hours(24),
            max_bytes: 1 << 30,
            presign: false,
        };
        Backend { config, raw, spool: tempfile::tempdir().unwrap() }
    }

    pub fn open(&self) -> Storage {
        self.open_with(|_| ())
    }

    pub fn open_with(&self, change: impl FnOnce(&mut config::Storage)) -> Storage {
        let mut config = self.config.clone();
        change(&mut config);
        Storage::open(&config, Path::new("/unused")).unwrap()
    }

    pub fn is_folder(&self) -> bool {
        matches!(self.raw, Raw::Folder(_))
    }

    /// The path of a name in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        let Raw::Folder(folder) = &self.raw else { panic!("it is in a bucket") };
        folder.path().join("store").join(name)
    }

    pub fn bucket_name(&self) -> &str {
        let Raw::Bucket(url, _) = &self.raw else { panic!("it is a folder") };
        url.rsplit('/').next().unwrap()
    }

    pub async fn make_bucket(&self) {
        let Raw::Bucket(url, _) = &self.raw else { return };
        assert_eq!(reqwest::Client::new().put(url).send().await.unwrap().status(), 200);
    }

    pub async fn remove_bucket(&self) {
        assert_eq!(self.try_to_remove_bucket().await, 204);
    }

    /// Returns the server's status: 409 if an object was written meanwhile.
    pub async fn try_to_remove_bucket(&self) -> u16 {
        for name in self.names().await {
            self.remove(&name).await;
        }
        let Raw::Bucket(url, _) = &self.raw else { panic!("it is a folder") };
        reqwest::Client::new().delete(url).send().await.unwrap().status().as_u16()
    }

    /// The sorted names of all objects, relative to the root.
    pub async fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match &self.raw {
            Raw::Folder(_) => {
                let root = self.path("");
                let files = walkdir::WalkDir::new(&root).into_iter().filter_map(Result::ok);
                let files = files.filter(|entry| entry.file_type().is_file());
                files
                    .map(|entry| entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned())
                    .collect()
            }
            Raw::Bucket(_, objects) => {
                let found: Vec<_> = objects.list(None).try_collect().await.unwrap();
                let names = found.iter().map(|meta| meta.location.as_ref());
                names.map(|name| name.strip_prefix(PREFIX).unwrap().to_owned()).collect()
            }
        };
        names.sort();
        names
    }

    pub async fn write(&self, name: &str, content: &[u8]) {
        match &self.raw {
            Raw::Folder(_) => {
                let path = self.path(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Raw::Bucket(_, objects) => {
                objects.put(&location(name), content.to_vec().into()).await.unwrap();
            }
        }
    }

    pub async fn remove(&self, name: &str) {
        match &self.raw {
            Raw::Folder(_) => fs::remove_file(self.path(name)).unwrap(),
            Raw::Bucket(_, objects) => objects.delete(&location(name)).await.unwrap(),
        }
    }

    /// Writes a file with this content, like a conversion.
    pub fn source(&self, content: &[u8]) -> PathBuf {
        let path = self.spool.path().join(uuid::Uuid::now_v7().simple().to_string());
        fs::write(&path, content).unwrap();
        path
    }
}

fn location(name: &str) -> Location {
    Location::parse(format!("{PREFIX}{name}")).unwrap()
}

/// Random bytes, different for each seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}

pub fn blob(hash: &Hash) -> String {
    let hex = hash.to_hex();
    format!("blobs/{}/{hex}", &hex[..2])
}
