//! Intake of good and bad models.

mod archives;
mod detection;
mod in_place;
mod races;
mod references;

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use meshgate::context::Context;
use meshgate::domain::ConversionError;
use meshgate::intake::{FileSource, Model, ModelLimits, NamedFile, Source, prepare};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Folders for inputs and for prepared models.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sent")).unwrap();
        Self { folder }
    }

    fn sent(&self) -> PathBuf {
        self.folder.path().join("sent")
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.sent().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn prepare(
        &self,
        source: &Source,
        main: Option<&str>,
        limits: ModelLimits,
    ) -> Result<Model, ConversionError> {
        let into = self.folder.path().join("in");
        let _ = fs::remove_dir_all(&into);
        prepare(source, main, &into, limits, &Context::default(), &|_| false)
    }

    /// Prepares one uploaded file.
    fn upload(&self, name: &str, content: impl AsRef<[u8]>) -> Result<Model, ConversionError> {
        let path = self.put("upload", content);
        let named = NamedFile { file: FileSource::UserFile(path), name: name.to_owned() };
        self.prepare(&Source::Files(vec![named]), None, ModelLimits::default())
    }

    /// Prepares several uploaded files.
    fn upload_all(&self, files: &[(&str, &[u8])]) -> Result<Model, ConversionError> {
        let named = |(index, (name, content)): (usize, &(&str, &[u8]))| NamedFile {
            file: FileSource::UserFile(self.put(&format!("upload-{index}"), content)),
            name: (*name).to_owned(),
        };
        let files = files.iter().enumerate().map(named).collect();
        self.prepare(&Source::Files(files), None, ModelLimits::default())
    }
}

/// The prepared main file as text.
fn main_text(model: &Model) -> String {
    read(model, model.main.to_str().unwrap())
}

fn read(model: &Model, path: &str) -> String {
    String::from_utf8(fs::read(model.folder.join(path)).unwrap()).unwrap()
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

pub fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub fn glb_of(json: &str, binary: &[u8]) -> Vec<u8> {
    let mut json = json.as_bytes().to_vec();
    json.resize(json.len().next_multiple_of(4), b' ');
    let mut glb = b"glTF\x02\0\0\0".to_vec();
    let length = 20 + json.len() + if binary.is_empty() { 0 } else { 8 + binary.len() };
    glb.extend(u32::try_from(length).unwrap().to_le_bytes());
    glb.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
    glb.extend(b"JSON");
    glb.extend(&json);
    if !binary.is_empty() {
        glb.extend(u32::try_from(binary.len()).unwrap().to_le_bytes());
        glb.extend(b"BIN\0");
        glb.extend(binary);
    }
    glb
}

const OBJ: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";
