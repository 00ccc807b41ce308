//! Who asks, and whether they may.

pub mod client;
pub mod cors;
pub mod keys;
pub mod limit;

pub use client::Client;
pub use keys::KeyName;
pub use limit::Counted;
