//! Who asks, and whether they may.

pub mod client;
pub mod cors;
pub mod keys;

pub use client::Client;
pub use keys::KeyName;
