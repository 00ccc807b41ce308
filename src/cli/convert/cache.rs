//! The conversions of the command line, and their cache, which a service may share.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use zip::ZipArchive;

use crate::app;
use crate::cache;
use crate::cli::failure::Failure;
use crate::cli::progress::Bar;
use crate::cli::setting_flags::RunSettings;
use crate::config;
use crate::conversion::{
    Accepts, Artifact, Content, Converted, Converter, FinishedConversion, Input, Request, ResultCache,
    Service, Spec, blocking, is_harmless, may_go_beside,
};
use crate::domain::{Client, ConversionError, ErrorCode, Format, Purpose, Report};
use crate::executor::workdir::ConversionFolder;
use crate::fs::blob::Blob;
use crate::metrics::Metrics;
use crate::storage::{self, Storage};

/// Longest sweep of the store at the end of a run; the user is waiting.
const SWEEPING: Duration = Duration::from_secs(3);

/// Converts, and serves repeated conversions from the store if the cache is on.
pub struct Conversions {
    service: Service,
    /// `None`: the cache is off.
    storage: Option<Storage>,
}

/// A result's files.
pub struct ResultFiles {
    pub report: Report,
    /// The main file first.
    pub paths: Vec<PathBuf>,
    /// Whether the result was cached, so that nothing was converted.
    pub cached: bool,
    /// Guards that keep the files on disk.
    _kept: Box<dyn Any + Send>,
}

/// Opens the cache, if it is on. If it is off, no setting of the store or of Redis matters.
///
/// # Errors
/// A mistake in the settings.
pub async fn open(settings: &RunSettings, converter: &Arc<Converter>) -> Result<Conversions, Failure> {
    let metrics = Arc::new(Metrics::new()?);
    let (cache, redis, location) = match settings.cache {
        Some(cache) => (Some(cache), settings.redis.as_ref(), settings.storage.location.clone()),
        None => (None, None, None),
    };
    let stored = config::Storage { location, ..settings.storage.clone() };
    let storage = app::storage(&stored, &settings.engine).map_err(Failure::Usage)?;
    let redis = app::redis(redis, &metrics).await.map_err(Failure::Usage)?;
    let index = app::index(cache, &storage, redis.as_ref());
    let results = ResultCache::new(index, storage.clone(), converter.work().path().to_owned());
    let service = Service::new(Arc::clone(converter), results, metrics, CancellationToken::new());
    Ok(Conversions { service, storage: cache.map(|_| storage) })
}

impl Conversions {
    /// Waits until everything is stored, and sweeps the store, since no service may run to do so.
    ///
    /// # Errors
    /// Why the store fails. The conversions have succeeded, so a warning is enough.
    pub async fn finish(&self) -> Result<(), storage::Error> {
        let Some(storage) = &self.storage else { return Ok(()) };
        self.service.cache().finish().await;
        if storage.trouble().is_none() {
            let sweep = storage.sweep_if_due(SystemTime::now());
            // What it has removed by the timeout stays removed.
            if let Ok(done) = tokio::time::timeout(SWEEPING, sweep).await {
                done?;
            }
        }
        storage.trouble().map_or(Ok(()), Err)
    }

    /// Returns the result from the store, or converts.
    ///
    /// # Errors
    /// Why the model could not be converted.
    pub async fn result(&self, spec: Spec, bar: &Arc<Bar>) -> Result<ResultFiles, ConversionError> {
        let folder = self.service.converter().work().new_folder();
        let Spec { sources, main, target, options, timeout } = spec;
        let request = Request {
            input: Input::Local(sources),
            main,
            target,
            options,
            timeout,
            folder: folder.clone(),
            client: Client::Local,
            purpose: Purpose::Request,
            owner: None,
            requested_at: Instant::now(),
            bypass_cache: false,
            accepts: Accepts { report: true, ..Accepts::default() },
        };
        let bar = Arc::clone(bar);
        let on_stage = move |stage, fraction| bar.stage(stage, fraction);
        if self.storage.is_none() {
            return self.service.convert_uncached(request, on_stage).await.map(ResultFiles::of);
        }
        let answer = self.service.convert(request, on_stage).await;
        let Converted { info, content, report } = answer.result?;
        let (content, report) = match (content, report) {
            (Content::Made(artifact), _) => return Ok(ResultFiles::made(artifact)),
            (Content::Stored(content), Some(report)) => (content, report),
            _ => return Err(ConversionError::new(ErrorCode::Internal, "the stored result has no report")),
        };
        let files = blocking(move |_| {
            let written = write(content, &info, &folder);
            let paths = written.map_err(|error| ConversionError::io("write the result", &error))?;
            Ok(ResultFiles { report: (*report).clone(), paths, cached: true, _kept: Box::new(folder) })
        });
        files.await
    }
}

/// Writes the stored content into the conversion's folder; unpacks a zip unless a zip was requested.
fn write(content: Blob, info: &cache::ResultInfo, folder: &ConversionFolder) -> io::Result<Vec<PathBuf>> {
    let out = folder.output();
    fs::create_dir_all(&out)?;
    let Some(main) = &info.main else {
        let path = out.join(info.file_name());
        match content {
            Blob::Memory(content) => fs::write(&path, content)?,
            Blob::File(mut content, _) => io::copy(&mut content, &mut File::create(&path)?).map(drop)?,
        }
        return Ok(vec![path]);
    };
    let main = Path::new(&**main);
    match content {
        Blob::Memory(content) => extract(io::Cursor::new(content), main, info.format, &out),
        Blob::File(content, _) => extract(content, main, info.format, &out),
    }
}

/// Unpacks a zip into the folder `out`; returns its files, the main one first.
fn extract(
    content: impl io::Read + io::Seek,
    main: &Path,
    format: Format,
    out: &Path,
) -> io::Result<Vec<PathBuf>> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut archive = ZipArchive::new(content)?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = PathBuf::from(entry.name()?.into_owned());
        // Names are checked, since other programs may write to the store.
        let is_main = name == main;
        if !(if is_main { is_harmless(&name) } else { may_go_beside(&name, format) }) {
            return Err(wrong("the stored result has a file that does not belong"));
        }
        let path = out.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        io::copy(&mut entry, &mut File::create_new(&path)?)?;
        files.insert(if is_main { 0 } else { files.len() }, path);
    }
    if files.first() != Some(&out.join(main)) {
        return Err(wrong("the stored result lacks its main file"));
    }
    Ok(files)
}

impl ResultFiles {
    /// The files of a conversion that has just run.
    fn of(conversion: FinishedConversion) -> Self {
        let FinishedConversion { report, folder, files: paths, memory, .. } = conversion;
        Self { report, paths, cached: false, _kept: Box::new((folder, memory)) }
    }

    fn made(made: Arc<Artifact>) -> Self {
        let (report, paths) = (made.conversion.report.clone(), made.conversion.files.clone());
        Self { report, paths, cached: false, _kept: Box::new(made) }
    }
}
