//! Who asks, and whether they may.

pub mod client;
pub mod cors;
pub mod keys;
pub mod limit;

use std::sync::Arc;

use axum::http::Extensions;

pub use client::Address;
pub use keys::KeyName;
pub use limit::Counted;

use crate::domain::Client;

/// Who asks: the owner of the API key that came with the request, else an address.
pub fn client(request: &Extensions) -> Option<Client> {
    match request.get::<KeyName>() {
        Some(KeyName(name)) => Some(Client::Key(Arc::clone(name))),
        None => request.get::<Address>().map(|Address(address)| Client::address(*address)),
    }
}
