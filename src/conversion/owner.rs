//! Whose results and reports are.

use std::sync::Arc;

use crate::config::CacheScope;
use crate::domain::Client;

/// Returns the name of the API key that owns the results and reports of this client; `None` if they are shared.
pub fn owner(client: &Client, scope: CacheScope) -> Option<Arc<str>> {
    match client {
        Client::Key(name) if scope == CacheScope::Key => Some(Arc::clone(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_own_results() {
        let (key, address) = (Client::Key("ci".into()), Client::address([192, 0, 2, 1].into()));
        assert_eq!(owner(&key, CacheScope::Key).as_deref(), Some("ci"));
        assert_eq!(owner(&key, CacheScope::Shared), None);
        assert_eq!(owner(&address, CacheScope::Key), None);
    }
}
