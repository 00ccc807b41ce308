//! The conversion path: what every way in (command line, HTTP, jobs) runs.

mod conversion;
mod losses;

pub use conversion::{Converter, Outcome, Request};
