//! What the command line converted before, or a service that shares its store.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use zip::ZipArchive;

use super::progress::Bar;
use super::settings::Settings;
use crate::cache;
use crate::cli::{Failure, app};
use crate::conversion::{
    Answers, Converter, Made, Outcome, Question, Ready, Request, blocking, is_harmless, may_go_beside,
};
use crate::domain::{Client, ConversionError, Format, Report};
use crate::executor::workdir::ConversionFolder;
use crate::fs::blob::Blob;
use crate::storage::{self, Storage};

/// How long the end of a run may take for sweeping the store: nobody waits for it with pleasure.
const SWEEPING: Duration = Duration::from_secs(3);

/// What was converted before, and where it is kept.
pub struct Cache {
    pub answers: Answers,
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
pub async fn open(settings: &Settings, converter: &Converter) -> Result<Option<Cache>, Failure> {
    let known = &settings.known;
    let Some(cache) = known.cache else { return Ok(None) };
    let storage = app::storage(&known.storage, &settings.engine)?;
    let redis = match &known.redis {
        None => None,
        redis => app::redis(redis.as_ref(), &app::metrics()?).await?,
    };
    let index = app::index(Some(cache), &storage, redis.as_ref());
    let answers = Answers::new(index, storage.clone(), converter.work().path().to_owned());
    Ok(Some(Cache { answers, storage }))
}

impl Cache {
    /// Waits until everything is stored, and sees to it that the store does not grow without end where no service does.
    ///
    /// # Errors
    /// What is wrong with the store, for which nothing but a word is due: all conversions are done.
    pub async fn finish(&self) -> Result<(), storage::Error> {
        self.answers.finish().await;
        if self.storage.trouble().is_none() {
            let sweep = self.storage.sweep_if_due(SystemTime::now());
            // What is removed by then stays so.
            if let Ok(done) = tokio::time::timeout(SWEEPING, sweep).await {
                done?;
            }
        }
        self.storage.trouble().map_or(Ok(()), Err)
    }
}

/// The result of a conversion, which is only carried out where it is not known.
///
/// # Errors
/// Why the model could not be converted.
pub async fn result(
    answers: &Answers,
    converter: &Arc<Converter>,
    request: Request,
    bar: &Arc<Bar>,
) -> Result<Files, ConversionError> {
    let timeout = request.timeout;
    let prepared = converter.prepare(converter.work().new_folder(), request, &Client::Local).await?;
    let identity = match converter.engine_identity() {
        Some(engine) => Some(prepared.identity(engine).await?),
        None => None,
    };
    let work = |left| {
        let (converter, prepared, bar) = (Arc::clone(converter), prepared.clone(), Arc::clone(bar));
        let progress = move |stage, fraction| bar.stage(stage, fraction);
        async move { converter.carry_out(prepared, left, &progress).await }.boxed()
    };
    let mut question = Question { identity, owner: None, fresh: false, lost: false, timeout };
    loop {
        let kept = match (answers.ask(&question, work).await.result?, identity) {
            (Ready::Made(made), _) => return Ok(Files::made(made)),
            (Ready::Kept(about), Some(identity)) => {
                kept(answers, identity, &about, prepared.folder()).await?
            }
            (Ready::Kept(_), None) => None,
        };
        if let Some(files) = kept {
            return Ok(files);
        }
        question.again();
    }
}

/// Brings a result out of the store; `None`: it, or its report, is not there any more.
async fn kept(
    answers: &Answers,
    identity: storage::Hash,
    about: &cache::Result,
    folder: &ConversionFolder,
) -> Result<Option<Files>, ConversionError> {
    let Some(report) = answers.report(about.report, None).await else { return Ok(None) };
    let Some(content) = answers.open(identity, about).await else { return Ok(None) };
    let (about, folder) = (about.clone(), folder.clone());
    let files = blocking(move |_| {
        let written = write(content, &about, &folder);
        let paths = written.map_err(|error| ConversionError::io("write the result", &error))?;
        Ok(Files { report: (*report).clone(), paths, cached: true, _kept: Box::new(folder) })
    });
    files.await.map(Some)
}

/// Makes files of what was kept, in the conversion's own folder; a zip that nobody asked for is taken apart.
fn write(mut content: Blob, about: &cache::Result, folder: &ConversionFolder) -> io::Result<Vec<PathBuf>> {
    let out = folder.output();
    fs::create_dir_all(&out)?;
    let Some(main) = &about.main else {
        let path = out.join(about.file_name());
        let mut file = File::create(&path)?;
        match &mut content {
            Blob::Memory(content) => io::copy(&mut &content[..], &mut file)?,
            Blob::File(content, _) => io::copy(content, &mut file)?,
        };
        return Ok(vec![path]);
    };
    let main = Path::new(&**main);
    match content {
        Blob::Memory(content) => extract(io::Cursor::new(content), main, about.format, &out),
        Blob::File(content, _) => extract(content, main, about.format, &out),
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

    fn made(made: Arc<Made>) -> Self {
        let outcome = &made.outcome;
        Self {
            report: outcome.report.clone(),
            paths: outcome.files.clone(),
            cached: false,
            _kept: Box::new(made),
        }
    }
}
