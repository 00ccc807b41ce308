//! Who asks, and whether they may.

pub mod client;
pub mod cors;
pub mod keys;
pub mod limit;

use std::sync::Arc;

use axum::http::Extensions;

use crate::limits::Who;
pub use client::Client;
pub use keys::KeyName;
pub use limit::Counted;

/// The client of a request: the owner of its key, else its address. `None` before either was noted.
pub fn who(request: &Extensions) -> Option<Who> {
    match request.get::<KeyName>() {
        Some(KeyName(name)) => Some(Who::Key(Arc::clone(name))),
        None => Some(Who::address(request.get::<Client>()?.0)),
    }
}
