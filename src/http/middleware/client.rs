//! The client of a request, as the other layers have identified it.

use std::sync::Arc;

use axum::http::Extensions;

use super::api_keys::KeyName;
use super::real_ip::Address;
use crate::config::Access;
use crate::conversion;
use crate::domain::Client;

/// Returns the client of a request: the owner of its API key, otherwise its address.
pub fn client(request: &Extensions) -> Option<Client> {
    match request.get::<KeyName>() {
        Some(KeyName(name)) => Some(Client::Key(Arc::clone(name))),
        None => request.get::<Address>().map(|Address(address)| Client::address(*address)),
    }
}

/// Returns the name of the API key that owns the request's results and reports; `None` if they are shared.
pub fn owner(request: &Extensions, access: &Access) -> Option<Arc<str>> {
    conversion::owner(&client(request)?, access.cache_scope)
}
