//! The conversion path, shared by the command line and HTTP.

mod admission;
mod artifact;
mod blocking;
mod cached;
mod converter;
mod finished;
mod lane;
mod losses;
mod owner;
mod pipeline;
mod reading;
mod recent_reports;
mod record;
mod result_files;
mod service;
mod timeout;
mod upload;

pub use admission::Admission;
pub use artifact::Artifact;
pub use blocking::blocking;
pub use cached::{CacheStatus, ResultCache};
pub use converter::Converter;
pub use finished::FinishedConversion;
pub use owner::owner;
pub use pipeline::Spec;
pub use record::Record;
pub use result_files::{is_harmless, may_go_beside};
pub use service::{Accepts, Content, Converted, Input, LARGE_RESULT, Request, Response, Service, stopping};
pub use timeout::late;
pub use upload::{Upload, UploadContent};
