//! Tests over the real parts, in one binary.

mod cli;
mod conversions;
mod intake;
mod supervisor;
