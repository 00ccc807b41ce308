//! The files of a `multipart/form-data` body.

use super::limited_body::{Incoming, no_file};
use super::multipart::Parts;
use super::spool::Spool;
use crate::conversion::Upload;
use crate::domain::ErrorCode;
use crate::executor::workdir::ConversionFolder;
use crate::http::problem::Problem;
use crate::intake::MAX_NAME_BYTES;

/// The field name of files; other parts are skipped.
const FILE_FIELD: &[u8] = b"file";

/// Largest number of non-file parts; a usual form has a handful.
const MAX_OTHER_PARTS: usize = 100;

/// Writes the parts named `file` into the folder.
pub async fn files(
    body: Incoming,
    media_type: &[u8],
    folder: &ConversionFolder,
    max_files: usize,
    refuse: impl Fn(&str) -> Result<(), Problem> + Send,
) -> Result<Vec<Upload>, Problem> {
    // The sentence is the predecessor's, whose clients may match it.
    let no_name = || Problem::new(ErrorCode::NoFileName, "No file selected");
    let too_large = |detail: &str| Err(Problem::new(ErrorCode::TooLarge, detail));
    let mut parts = Parts::new(body, media_type)?;
    let mut files = Vec::new();
    let (mut others, mut name_bytes, mut nameless) = (0, 0, false);
    while let Some(parameters) = parts.next().await? {
        let name = parameters.file_name().filter(|_| parameters.get("name") == Some(FILE_FIELD));
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else {
            // A file field without a chosen file has an empty name and no content.
            nameless |= name.is_some();
            if name.is_some() && parts.data().await?.is_some() {
                return Err(no_name());
            }
            others += 1;
            if others > MAX_OTHER_PARTS {
                return too_large("the request has too many parts");
            }
            continue;
        };
        if files.len() == max_files {
            return too_large("the request has too many parts");
        }
        name_bytes += name.len();
        if name_bytes > MAX_NAME_BYTES {
            return too_large("the file names together exceed 1 MiB");
        }
        if files.is_empty() {
            refuse(name)?;
        }
        let mut spool = Spool::new(folder, files.len(), name);
        while let Some(chunk) = parts.data().await? {
            spool.write(&chunk).await?;
        }
        files.push(spool.finish().await?);
    }
    if files.is_empty() {
        return Err(if nameless { no_name() } else { no_file() });
    }
    Ok(files)
}
