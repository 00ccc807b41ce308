//! Tests over the real parts, in one binary.

mod cli;
mod cli_convert;
mod configuration;
mod conversions;
mod documents;
mod gateway;
mod intake;
mod limits;
mod redis;
mod supervisor;
