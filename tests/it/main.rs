//! Tests over the real parts, in one binary.

mod cli;
mod cli_convert;
mod documents;
mod conversions;
mod intake;
mod supervisor;
