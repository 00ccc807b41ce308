//! Conversions that are served from the cache: over HTTP, by several processes, and on the command line.

pub mod bucket;
mod command_line;
mod faults;
mod gateway;
mod keys;
mod processes;
mod suite;

use std::path::{Path, PathBuf};
use std::time::Instant;

use reqwest::{RequestBuilder, Response};

use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE, scrape};

/// The value of a series, 0 if absent.
pub async fn count(gateway: &Gateway, series: &str) -> u64 {
    let text = scrape(gateway).await;
    let values = text.lines().filter(|line| line.starts_with(series));
    values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// The number of conversions that have run, successful or not.
pub async fn conversions(gateway: &Gateway) -> u64 {
    count(gateway, "meshgate_conversions_total{").await
}

/// The number of requests whose cache lookup had this result.
pub async fn answered(gateway: &Gateway, from: &str) -> u64 {
    count(gateway, &format!("meshgate_cache_requests_total{{result=\"{from}\"}}")).await
}

/// A conversion of a triangle by Blender.
pub fn conversion(gateway: &Gateway) -> RequestBuilder {
    model(gateway, TRIANGLE)
}

/// A conversion of this model by Blender.
pub fn model(gateway: &Gateway, content: &str) -> RequestBuilder {
    gateway.client.post(gateway.url("/convert?output_format=stl&filename=a.obj")).body(content.to_owned())
}

pub fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The answer's `Meshgate-Cache`.
pub fn cache_status(answer: &Response) -> String {
    header(answer, "meshgate-cache")
}

/// Waits until the series is above 0.
pub async fn until_counted(gateway: &Gateway, series: &str) {
    let began = Instant::now();
    while count(gateway, series).await == 0 {
        assert!(began.elapsed() < LONG, "never: {series}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the index has an entry. Before that, a new result is a hit too, but may not be stored yet.
pub async fn until_known(gateway: &Gateway) {
    until_counted(gateway, "meshgate_cache_bytes").await;
}

/// The files in this folder of the store.
pub fn stored(gateway: &Gateway, folder: &str) -> Vec<PathBuf> {
    let root = gateway.folder.path().join("store").join(folder);
    complete_files(&root)
}

/// All complete files below `root`.
pub fn complete_files(root: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    files.filter(|path| !path.to_string_lossy().contains('#')).collect()
}
