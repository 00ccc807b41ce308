//! `POST /convert`: a model in, a file out.

mod handler;
pub mod query;
pub mod receive;
pub mod response;

pub use handler::{__path_convert, convert};
