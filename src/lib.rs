//! Meshgate: a gateway that converts 3D models and motions, with Blender as its engine.

mod app;
pub mod cache;
mod causes;
pub mod cli;
pub mod config;
pub mod context;
pub mod conversion;
pub mod domain;
pub mod executor;
pub mod formats;
pub mod fs;
pub mod http;
pub mod inspect;
pub mod intake;
pub mod jobs;
pub mod metrics;
pub mod rate_limit;
pub mod redis;
pub mod repack;
pub mod shutdown;
pub mod slots;
pub mod storage;
pub mod telemetry;
pub mod webhooks;
