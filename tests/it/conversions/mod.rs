//! Whole conversions with the real engine: every pair, the options, broken models.

pub mod bad_input;
mod compressed_blend;
mod disk;
mod engine;
mod folders;
mod hostile_input;
mod hostile_zips;
mod losses;
mod mutations;
mod options;
mod pairs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshgate::conversion::{Admission, Converter, FinishedConversion, Spec};
use meshgate::domain::{ConversionError, Format, Options};
use meshgate::executor::local;
use meshgate::executor::local::locate::EngineCandidates;
use meshgate::executor::workdir::WorkDir;
use meshgate::intake::{ModelLimits, Source};

/// Longer than any conversion here takes on a busy machine.
const LONG: Duration = Duration::from_mins(2);

/// A converter and a folder for models.
struct Fixture {
    folder: tempfile::TempDir,
    converter: Converter,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Fixture {
        let converter = Fixture::converter(&folder, ModelLimits::default());
        Fixture { folder, converter }
    }

    /// Changes the limits.
    fn limit(&mut self, limits: ModelLimits) {
        self.converter = Fixture::converter(&self.folder, limits);
    }

    fn converter(folder: &tempfile::TempDir, limits: ModelLimits) -> Converter {
        let work = WorkDir::open(&folder.path().join("work")).unwrap();
        let candidates = EngineCandidates {
            python: std::env::var_os("BLENDER_PYTHON").map(PathBuf::from),
            ..EngineCandidates::default()
        }
        .with_usual(Some(Path::new(env!("CARGO_MANIFEST_DIR"))), None, None);
        let engine =
            candidates.locate().unwrap_or_else(|error| panic!("these tests run the real engine: {error}"));
        let settings = local::Settings::new(engine, work.clone());
        let executor = Arc::new(local::LocalExecutor::new(Ok(settings)));
        Converter::new(executor, work, limits, Admission::unbounded(2))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn convert(&self, model: &Path, target: Format) -> Result<FinishedConversion, ConversionError> {
        self.convert_with(model, target, &[]).await
    }

    async fn convert_with(
        &self,
        model: &Path,
        target: Format,
        options: &[(&str, &str)],
    ) -> Result<FinishedConversion, ConversionError> {
        let mut set = Options::default();
        for (name, value) in options {
            set.set(name, value)?;
        }
        let spec = Spec {
            sources: Source::FileWithSiblings(model.to_owned()),
            main: None,
            target,
            options: set,
            timeout: LONG,
        };
        let result = self.converter.convert(spec, &|_, _| ()).await;
        // No conversion of these tests may show a remote client a path of the server. Paths that the model itself
        // contains are no secret to its sender; some models contain paths below the fixture's folder.
        let said = match &result {
            Ok(conversion) => serde_json::to_string(&conversion.report).unwrap(),
            Err(error) => error.detail.clone(),
        };
        for place in [self.path("work").as_path(), Path::new(env!("CARGO_MANIFEST_DIR"))] {
            assert!(!said.contains(place.to_str().unwrap()), "a path of the server: {said}");
        }
        result
    }

    /// Converts, copies the result's files to a separate folder, and returns the path of the main one.
    async fn make(&self, model: &Path, target: Format) -> PathBuf {
        let conversion =
            self.convert(model, target).await.unwrap_or_else(|error| panic!("{target}: {error}"));
        let folder = self.path(&format!("made-{target}"));
        for file in &conversion.files {
            let to = folder.join(file.strip_prefix(conversion.folder.output()).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(file, to).unwrap();
        }
        folder.join(conversion.files[0].strip_prefix(conversion.folder.output()).unwrap())
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}
