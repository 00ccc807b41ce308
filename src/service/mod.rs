//! The conversion path.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::{ConversionError, ErrorCode, Format, Options, Report};
use crate::engine::blender::protocol::Stage;
use crate::intake::Source;

/// One conversion.
#[derive(Debug, Clone)]
pub struct Request {
    pub sources: Source,
    /// The model's main file, where it has several.
    pub main: Option<String>,
    pub target: Format,
    pub options: Options,
    pub timeout: Duration,
}

/// The conversion's own folder; gone when this is dropped.
#[derive(Debug)]
pub struct ConversionFolder(pub tempfile::TempDir);

/// A finished conversion.
#[derive(Debug)]
pub struct Outcome {
    pub report: Report,
    /// The result's files live in it.
    pub folder: ConversionFolder,
    /// Absolute paths; the first is the main file.
    pub files: Vec<PathBuf>,
    /// The model's name without an extension.
    pub stem: String,
}

/// What carries out conversions.
#[derive(Debug)]
pub struct Converter;

impl Converter {
    /// Carries out one conversion; dropping the future cancels it.
    ///
    /// # Errors
    /// Why the model could not be converted.
    #[allow(clippy::unused_async)]
    pub async fn convert(
        &self,
        request: Request,
        _progress: &(dyn Fn(Stage, Option<f64>) + Send + Sync),
    ) -> Result<Outcome, ConversionError> {
        let (Source::FileWithSiblings(path) | Source::Folder(path)) = &request.sources;
        let source =
            path.extension().and_then(|extension| Format::from_extension(&extension.to_string_lossy()));
        if let Some(reason) = source.and_then(|source| source.refusal(request.target)) {
            return Err(ConversionError::new(ErrorCode::UnsupportedPair, reason));
        }
        Err(ConversionError::new(ErrorCode::Internal, "not wired yet"))
    }

    /// Ends the engine and waits for it.
    #[allow(clippy::unused_async)]
    pub async fn shutdown(self) {}
}
