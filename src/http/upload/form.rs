//! The files of a `multipart/form-data` body.

use super::limited_body::Incoming;
use super::multipart::Parts;
use super::spool::Spool;
use super::{NO_FILE, NO_NAME, Upload};
use crate::domain::ErrorCode;
use crate::executor::workdir::ConversionFolder;
use crate::http::problem::Problem;
use crate::intake::MAX_NAMES;

/// The field name of files; other parts are skipped.
const FILE_FIELD: &[u8] = b"file";

/// Largest number of non-file parts; a usual form has a handful.
const MAX_OTHER_PARTS: usize = 100;

/// Writes the parts named `file` into the folder.
pub async fn files(
    incoming: Incoming,
    media_type: &[u8],
    folder: &ConversionFolder,
    most: usize,
    refuse: impl Fn(&str) -> Result<(), Problem> + Send,
) -> Result<Vec<Upload>, Problem> {
    let mut parts = Parts::new(incoming, media_type)?;
    let mut files = Vec::new();
    let mut others = 0;
    let mut names = MAX_NAMES;
    let mut nameless = false;
    while let Some(parameters) = parts.next().await? {
        let is_file = parameters.get("name") == Some(FILE_FIELD);
        let Some(name) = parameters.file_name().filter(|name| is_file && !name.is_empty()) else {
            // A file field without a chosen file has an empty name and no content.
            if is_file && parameters.file_name().is_some() {
                nameless = true;
                if parts.data().await?.is_some() {
                    return Err(Problem::new(ErrorCode::NoFileName, NO_NAME));
                }
            }
            others += 1;
            if others > MAX_OTHER_PARTS {
                return Err(too_many());
            }
            continue;
        };
        if files.len() == most {
            return Err(too_many());
        }
        let Some(left) = names.checked_sub(name.len()) else {
            let detail = "the file names together exceed 1 MiB";
            return Err(Problem::new(ErrorCode::TooLarge, detail));
        };
        names = left;
        if files.is_empty() {
            refuse(&name)?;
        }
        let mut spool = Spool::new(folder, files.len(), &name);
        while let Some(chunk) = parts.data().await? {
            spool.write(&chunk).await?;
        }
        files.push(spool.finish().await?);
    }
    match files.is_empty() {
        false => Ok(files),
        true if nameless => Err(Problem::new(ErrorCode::NoFileName, NO_NAME)),
        true => Err(Problem::new(ErrorCode::NoFile, NO_FILE)),
    }
}

fn too_many() -> Problem {
    Problem::new(ErrorCode::TooLarge, "the request has too many parts")
}
