//! The store of what outlives a request (results, reports, the entries of the cache) in a folder or a bucket.
//!
//! ```text
//! <folder, or bucket and prefix>/
//!   blobs/<first 2 hex>/<blake3>             a result: one file, or the zip of several
//!   reports/<uuid v7>.json                   a report, with what it takes to send its result again
//!   entries/<first 2 hex>/<identity>.json    an entry of the cache of a single process
//!   jobs/<last 2 hex>/<uuid v7>.<what>       the model, the results and the reports of a job
//!   jobs/.store                              in a folder: by its content, processes know `jobs/` again
//!   check/<uuid>                             written, read and removed by a check
//!   swept                                    when the command line swept the folder, and the bytes that were left
//! ```
//!
//! A blob is named by its hash, so that equal results are stored once, and is checked whenever it is read. Nothing counts
//! references: an entry or report without its blob is ignored. So anything may be removed at any time, by a user, a rule
//! of the bucket or another process, and costs a conversion. Objects of jobs are the exception: they are kept until the
//! records of their jobs are removed.
//!
//! An unreachable store is an [`Error`], and [`Storage::trouble`] returns it until the store works again; a missing object
//! is `None`. Neither may fail a conversion.

mod aside;
mod backend;
mod blobs;
mod bucket;
mod cloud_options;
mod documents;
mod error;
mod health;
mod job_objects;
mod jobs_folder;
mod keys;
mod local;
mod open;
mod operation;
mod read_cache;
mod store;
mod sweep;

pub use backend::{SMALL, Stored, StoredDocument};
pub use blake3::Hash;
pub use blobs::URL_LIFETIME;
pub use error::{Error, Trouble};
pub use job_objects::OldJobObject;
pub use keys::{Document, JobObject, age};
pub use operation::{Operation, Outcome};
pub use store::Storage;
pub use sweep::Swept;
pub use url::Url;
