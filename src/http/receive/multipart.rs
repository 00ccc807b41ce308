//! The files of a `multipart/form-data` body.

use std::path::Path;

use multer::Multipart;

use super::body::{Allowance, Incoming};
use super::spool::Spool;
use super::{NO_FILE, NO_NAME, Received};
use crate::domain::ErrorCode;
use crate::http::problem::Problem;

/// The name of the parts that hold files; others are passed over.
const PART: &str = "file";

/// Bytes that may come between two parts: the headers of the second and what the connection had read ahead.
const HEADERS: u64 = 64 << 10;

/// Parts that are no files; a form has a handful.
const OTHER_PARTS: usize = 100;

/// Writes the parts named `file` into `folder`.
pub async fn files(
    incoming: Incoming,
    media_type: &str,
    folder: &Path,
    most: usize,
) -> Result<Vec<Received>, Problem> {
    let boundary = multer::parse_boundary(media_type).map_err(problem)?;
    let allowance = incoming.allowance();
    let mut multipart = Multipart::new(incoming, boundary);
    let mut files = Vec::new();
    let mut others = 0;
    while let Some(mut field) = next(&mut multipart, &allowance).await? {
        if field.name() != Some(PART) {
            others += 1;
            if others > OTHER_PARTS {
                return Err(too_many());
            }
            while field.chunk().await.map_err(problem)?.is_some() {}
            continue;
        }
        if files.len() == most {
            return Err(too_many());
        }
        let name = field.file_name().unwrap_or_default().to_owned();
        let mut spool = Spool::new(folder, files.len(), &name);
        while let Some(chunk) = field.chunk().await.map_err(problem)? {
            spool.write(chunk).await?;
        }
        let file = spool.finish().await?;
        if file.name.is_empty() {
            return Err(Problem::new(ErrorCode::NoFileName, NO_NAME));
        }
        files.push(file);
    }
    if files.is_empty() { Err(Problem::new(ErrorCode::NoFile, NO_FILE)) } else { Ok(files) }
}

/// The next part. While the parser looks for the end of its headers, what it reads stays in memory.
async fn next(
    multipart: &mut Multipart<'static>,
    allowance: &Allowance,
) -> Result<Option<multer::Field<'static>>, Problem> {
    allowance.set(HEADERS);
    let field = multipart.next_field().await.map_err(problem);
    allowance.set(u64::MAX);
    field
}

fn too_many() -> Problem {
    Problem::new(ErrorCode::TooLarge, "the request has too many parts")
}

/// Our own errors come back out of the parser as they went in.
fn problem(error: multer::Error) -> Problem {
    let detail = match error {
        multer::Error::StreamReadFailed(inner) => match inner.downcast::<Problem>() {
            Ok(problem) => return *problem,
            Err(_) => "the body could not be read",
        },
        multer::Error::NoBoundary => "the content type names no boundary",
        multer::Error::NoMultipart | multer::Error::DecodeContentType(_) => {
            "the content type is no multipart/form-data"
        }
        multer::Error::IncompleteHeaders
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteStream => "the multipart body ends early",
        multer::Error::ReadHeaderFailed(_)
        | multer::Error::DecodeHeaderName { .. }
        | multer::Error::DecodeHeaderValue { .. } => "a part's headers cannot be read",
        _ => "the multipart body cannot be read",
    };
    Problem::new(ErrorCode::MalformedRequest, detail)
}
