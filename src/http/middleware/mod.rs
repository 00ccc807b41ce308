//! Middleware that identifies, authorizes, limits and logs requests.

pub mod api_keys;
mod client;
pub mod cors;
pub mod log_request;
pub mod rate_limit;
pub mod real_ip;
pub mod request_id;

pub use api_keys::KeyName;
pub use client::{client, owner};
pub use real_ip::Address;
