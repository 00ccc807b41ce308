//! The conversion path: what every way in (command line, HTTP, jobs) runs.

mod admission;
mod conversion;
mod course;
mod losses;
mod reports;

pub use admission::Admission;
pub use conversion::{Converter, Outcome, Request};
pub use course::{Course, Lane};
pub use reports::Reports;
