//! Tests over the real parts, in one binary.

mod conversions;
mod intake;
mod supervisor;
