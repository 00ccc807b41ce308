//! The files of a model, streamed from the disk as the body of a request: one file as it is, several as a form.
//!
//! The form is written here, since reqwest's own needs further crates for a few lines.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt, Take};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::document::model_name;
use super::error::LocalError;
use crate::cli::failure::Failure;
use crate::cli::progress::Bar;
use crate::domain::Format;
use crate::fs::names;

/// Bytes that are read at a time.
const CHUNK: usize = 128 << 10;

/// The files of a model.
pub struct Model {
    files: Vec<ModelFile>,
    /// What separates the parts of a form; random, so that no file contains it.
    boundary: String,
}

struct ModelFile {
    path: PathBuf,
    /// The name without folders.
    name: String,
    bytes: u64,
}

/// The body of one attempt to send a model.
pub struct Upload {
    segments: VecDeque<Segment>,
    /// The file that is being read.
    open: Option<OpenFile>,
    /// Bytes that were not read yet.
    left: u64,
    total: u64,
    bar: Arc<Bar>,
}

enum Segment {
    Text(Bytes),
    File { path: PathBuf, bytes: u64 },
}

struct OpenFile {
    path: PathBuf,
    content: ReaderStream<Take<tokio::fs::File>>,
    left: u64,
}

impl Model {
    /// The model of these files.
    ///
    /// # Errors
    /// A usage error when a path is no file.
    pub fn new(paths: &[PathBuf]) -> Result<Self, Failure> {
        let files = paths.iter().map(|path| ModelFile::new(path)).collect::<Result<_, _>>()?;
        Ok(Self { files, boundary: format!("meshgate-{}", Uuid::now_v7().simple()) })
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        let names: Vec<_> = self.files.iter().map(|file| file.name.as_str()).collect();
        model_name(&names)
    }

    /// The file name that goes into the query: that of a single file. One without the extension of a model is left out,
    /// since the server would refuse it; it detects the format from the content.
    pub fn query_name(&self) -> Option<&str> {
        let [file] = self.files.as_slice() else { return None };
        let extension = names::extension(&file.name);
        let is_known = extension == "zip" || Format::from_extension(&extension).is_some();
        is_known.then_some(file.name.as_str())
    }

    /// The media type of the body.
    pub fn media_type(&self) -> String {
        match self.files.as_slice() {
            [_] => "application/octet-stream".to_owned(),
            _ => format!("multipart/form-data; boundary={}", self.boundary),
        }
    }

    /// A body with all files. Shows on `bar` how much of it is sent.
    pub fn upload(&self, bar: Arc<Bar>) -> Upload {
        let file = |file: &ModelFile| Segment::File { path: file.path.clone(), bytes: file.bytes };
        let segments: VecDeque<_> = match self.files.as_slice() {
            [only] => [file(only)].into(),
            files => {
                let end = Segment::Text(format!("--{}--\r\n", self.boundary).into());
                let part = |each| [self.head(each), file(each), Segment::Text(Bytes::from_static(b"\r\n"))];
                files.iter().flat_map(part).chain([end]).collect()
            }
        };
        let total = segments.iter().map(Segment::length).sum();
        Upload { segments, open: None, left: total, total, bar }
    }

    /// The headers of a file's part, with the name as browsers write it.
    fn head(&self, file: &ModelFile) -> Segment {
        let name = file.name.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22");
        let text = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            self.boundary
        );
        Segment::Text(text.into())
    }
}

impl ModelFile {
    fn new(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let metadata =
            path.metadata().map_err(|error| Failure::Usage(format!("could not open {shown}: {error}")))?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{shown} is a folder; name its files, or send a zip of it")));
        }
        if !metadata.is_file() {
            return Err(Failure::Usage(format!("{shown} is no regular file")));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { path: path.to_owned(), name, bytes: metadata.len() })
    }
}

impl Segment {
    fn length(&self) -> u64 {
        match self {
            Segment::Text(text) => text.len() as u64,
            Segment::File { bytes, .. } => *bytes,
        }
    }
}

impl OpenFile {
    /// Opens a file of which `bytes` bytes are to be read.
    fn new(path: PathBuf, bytes: u64) -> Result<Self, LocalError> {
        // Opening takes no time that others would miss: this program sends one model.
        let file = std::fs::File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(bytes), CHUNK);
        Ok(Self { path, content, left: bytes })
    }

    /// Reads the next bytes; `None` at the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, LocalError>>> {
        let read = match ready!(self.content.poll_next_unpin(context)) {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Poll::Ready(Some(Err(unreadable(&self.path, &error)))),
            None if self.left > 0 => {
                let detail = format!("{} became shorter while it was sent", self.path.display());
                return Poll::Ready(Some(Err(LocalError(detail))));
            }
            None => return Poll::Ready(None),
        };
        self.left = self.left.saturating_sub(read.len() as u64);
        Poll::Ready(Some(Ok(read)))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> LocalError {
    LocalError(format!("could not read {}: {error}", path.display()))
}

impl Upload {
    /// Counts bytes that are about to be sent.
    fn count(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.bar.show("uploading", 1.0 - self.left as f64 / self.total.max(1) as f64);
        Frame::data(bytes)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = LocalError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LocalError>>> {
        let upload = self.get_mut();
        loop {
            if let Some(open) = &mut upload.open {
                match ready!(open.poll(context)) {
                    Some(Ok(bytes)) => return Poll::Ready(Some(Ok(upload.count(bytes)))),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => upload.open = None,
                }
            }
            match upload.segments.pop_front() {
                None => return Poll::Ready(None),
                Some(Segment::Text(text)) => return Poll::Ready(Some(Ok(upload.count(text)))),
                Some(Segment::File { path, bytes }) => match OpenFile::new(path, bytes) {
                    Ok(open) => upload.open = Some(open),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http_body_util::BodyExt;
    use indicatif::MultiProgress;

    use super::*;
    use crate::cli::progress::Progress;

    fn bar() -> Arc<Bar> {
        Arc::new(Progress::new(1, MultiProgress::new()).start("a → glb".to_owned()))
    }

    fn model(folder: &Path, files: &[(&str, &str)]) -> Model {
        let paths = files.iter().map(|(name, content)| {
            fs::write(folder.join(name), content).unwrap();
            folder.join(name)
        });
        Model::new(&paths.collect::<Vec<_>>()).unwrap()
    }

    #[tokio::test]
    async fn one_file_is_sent_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let content = "7".repeat(3 * CHUNK + 1);
        let model = model(folder.path(), &[("a.glb", content.as_str())]);
        assert_eq!((model.query_name(), model.name()), (Some("a.glb"), "a.glb"));
        let upload = model.upload(bar());
        assert_eq!(upload.size_hint().exact(), Some(content.len() as u64));
        assert!(upload.collect().await.unwrap().to_bytes() == content);
    }

    #[tokio::test]
    async fn several_files_are_sent_as_a_form_of_known_length() {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path(), &[("a.obj", "v 0 0 0\n"), ("a \"b\".mtl", ""), ("猫.png", "x")]);
        assert_eq!(model.query_name(), None);
        let upload = model.upload(bar());
        let length = upload.size_hint().exact().unwrap();
        let body = upload.collect().await.unwrap().to_bytes();
        assert_eq!(body.len() as u64, length);
        let boundary = model.media_type().rsplit_once('=').unwrap().1.to_owned();
        let part = |name: &str, content: &str| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n{content}\r\n"
            )
        };
        let parts = [part("a.obj", "v 0 0 0\n"), part("a %22b%22.mtl", ""), part("猫.png", "x")];
        assert_eq!(String::from_utf8_lossy(&body), format!("{}--{boundary}--\r\n", parts.concat()));
    }

    #[tokio::test]
    async fn a_file_that_changes_fails_the_upload() {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path(), &[("a.glb", "0123456789")]);
        fs::write(folder.path().join("a.glb"), "0123").unwrap();
        let error = model.upload(bar()).collect().await.unwrap_err();
        assert!(error.0.contains("a.glb became shorter"), "{error}");
        fs::write(folder.path().join("a.glb"), "0123456789 and more").unwrap();
        assert_eq!(model.upload(bar()).collect().await.unwrap().to_bytes(), "0123456789");
        fs::remove_file(folder.path().join("a.glb")).unwrap();
        let error = model.upload(bar()).collect().await.unwrap_err();
        assert!(error.0.contains("could not read"), "{error}");
    }

    #[test]
    fn only_files_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        for (path, words) in [
            (folder.path().to_owned(), "is a folder"),
            (folder.path().join("no.glb"), "could not open"),
            ("/dev/null".into(), "no regular file"),
        ] {
            match Model::new(&[path]) {
                Err(Failure::Usage(text)) => assert!(text.contains(words), "{text}"),
                _ => panic!("{words}"),
            }
        }
        // The server detects the format of a file without a known extension from its content.
        let model = model(folder.path(), &[("scan.42", "x")]);
        assert_eq!((model.query_name(), model.name()), (None, "scan.42"));
    }
}
