//! `POST /convert`: a model in, a file out.

mod handler;
mod query;
pub mod response;

pub use handler::{__path_convert, convert};
