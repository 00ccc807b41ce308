//! `POST /convert`: a model in, a file out.

mod by_job;
mod handler;
mod job_response;
pub mod query;
pub mod receive;
pub mod response;

pub use handler::{__path_convert, convert};
