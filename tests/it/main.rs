//! Tests over the real parts, in one binary.

mod at_work;
mod cache;
mod cli;
mod cli_convert;
mod configuration;
mod conversions;
mod deployment;
mod documents;
mod gateway;
mod healthcheck;
mod intake;
mod limits;
mod mounted;
mod redis;
mod storage;
mod supervisor;
