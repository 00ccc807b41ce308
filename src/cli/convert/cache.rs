//! What the command line converted before, or a service that shares its store.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use zip::ZipArchive;

use super::progress::Bar;
use super::settings::Settings;
use crate::app;
use crate::cache;
use crate::cli::Failure;
use crate::conversion::{
    Accepts, Artifact, Content, Converted, Converter, Input, Outcome, Request, ResultCache, Service, Spec,
    blocking, is_harmless, may_go_beside,
};
use crate::domain::{Client, ConversionError, ErrorCode, Format, Report};
use crate::executor::workdir::ConversionFolder;
use crate::storage::{self, Fetched, Storage};

/// How long the end of a run may take for sweeping the store: nobody waits for it with pleasure.
const SWEEPING: Duration = Duration::from_secs(3);

/// What was converted before, and where it is kept.
pub struct Cache {
    service: Service,
    storage: Storage,
}

/// A result's files.
pub struct Files {
    pub report: Report,
    /// The main file first.
    pub paths: Vec<PathBuf>,
    /// Whether it was known, and nothing converted.
    pub cached: bool,
    /// What keeps them where they are.
    _kept: Box<dyn Any + Send>,
}

/// What is known; `None`: everything is to be converted.
///
/// # Errors
/// What is wrong with the settings.
pub async fn open(settings: &Settings, converter: &Arc<Converter>) -> Result<Option<Cache>, Failure> {
    let known = &settings.known;
    let Some(cache) = known.cache else { return Ok(None) };
    let storage = app::storage(&known.storage, &settings.engine)?;
    let metrics = app::metrics()?;
    let redis = app::redis(known.redis.as_ref(), &metrics).await?;
    let index = app::index(Some(cache), &storage, redis.as_ref());
    let results = ResultCache::new(index, storage.clone(), converter.work().path().to_owned());
    let service = Service::new(Arc::clone(converter), results, metrics, CancellationToken::new());
    Ok(Some(Cache { service, storage }))
}

impl Cache {
    /// Waits until everything is stored, and sees to it that the store does not grow without end where no service does.
    ///
    /// # Errors
    /// What is wrong with the store, for which nothing but a word is due: all conversions are done.
    pub async fn finish(&self) -> Result<(), storage::Error> {
        self.service.finish().await;
        if self.storage.trouble().is_none() {
            let sweep = self.storage.sweep_if_due(SystemTime::now());
            // What is removed by then stays so.
            if let Ok(done) = tokio::time::timeout(SWEEPING, sweep).await {
                done?;
            }
        }
        self.storage.trouble().map_or(Ok(()), Err)
    }

    /// The result of a conversion, converted only where it is not stored.
    ///
    /// # Errors
    /// Why the model could not be converted.
    pub async fn result(&self, spec: Spec, bar: &Arc<Bar>) -> Result<Files, ConversionError> {
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
            owner: None,
            asked: Instant::now(),
            fresh: false,
            accepts: Accepts { report: true, ..Accepts::default() },
        };
        let bar = Arc::clone(bar);
        let answer = self.service.convert(request, move |stage, fraction| bar.stage(stage, fraction)).await;
        let Converted { about, content, report } = answer.result?;
        match (content, report) {
            (Content::Made(artifact), _) => Ok(Files::made(artifact)),
            (Content::Stored(content), Some(report)) => unpack(content, about, report, folder).await,
            _ => Err(ConversionError::new(ErrorCode::Internal, "the result came without its report")),
        }
    }
}

/// Writes a stored result to the conversion's folder.
async fn unpack(
    content: Fetched,
    about: cache::Result,
    report: Arc<Report>,
    folder: ConversionFolder,
) -> Result<Files, ConversionError> {
    let files = blocking(move |_| {
        let written = write(content, &about, &folder);
        let paths = written.map_err(|error| ConversionError::io("write the result", &error))?;
        Ok(Files { report: (*report).clone(), paths, cached: true, _kept: Box::new(folder) })
    });
    files.await
}

/// Makes files of what was kept, in the conversion's own folder; a zip that nobody asked for is taken apart.
fn write(mut content: Fetched, about: &cache::Result, folder: &ConversionFolder) -> io::Result<Vec<PathBuf>> {
    let out = folder.output();
    fs::create_dir_all(&out)?;
    let Some(main) = &about.main else {
        let path = out.join(about.file_name());
        let mut file = File::create(&path)?;
        match &mut content {
            Fetched::Small(content) => io::copy(&mut &content[..], &mut file)?,
            Fetched::File(content, _) => io::copy(content, &mut file)?,
        };
        return Ok(vec![path]);
    };
    let main = Path::new(&**main);
    match content {
        Fetched::Small(content) => extract(io::Cursor::new(content), main, about.format, &out),
        Fetched::File(content, _) => extract(content, main, about.format, &out),
    }
}

/// Makes the files of a zip in the folder `out`; the main one is the first of them.
fn extract(
    content: impl io::Read + io::Seek,
    main: &Path,
    format: Format,
    out: &Path,
) -> io::Result<Vec<PathBuf>> {
    let mut archive = ZipArchive::new(content)?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = PathBuf::from(entry.name()?.into_owned());
        // Other programs may write to the store.
        let is_main = name == main;
        if !(if is_main { is_harmless(&name) } else { may_go_beside(&name, format) }) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the stored result has a file that no result has",
            ));
        }
        let path = out.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        io::copy(&mut entry, &mut File::create_new(&path)?)?;
        files.insert(if is_main { 0 } else { files.len() }, path);
    }
    if files.first() != Some(&out.join(main)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the stored result lacks its main file"));
    }
    Ok(files)
}

impl Files {
    /// Of a conversion that was carried out.
    pub fn of(outcome: Outcome) -> Self {
        let Outcome { report, folder, files, memory, .. } = outcome;
        Self { report, paths: files, cached: false, _kept: Box::new((folder, memory)) }
    }

    fn made(made: Arc<Artifact>) -> Self {
        let outcome = &made.outcome;
        Self {
            report: outcome.report.clone(),
            paths: outcome.files.clone(),
            cached: false,
            _kept: Box::new(made),
        }
    }
}
