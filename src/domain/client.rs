//! The clients that request conversions, and what for.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One client: its requests are counted together, and it shares the engine and the queue with the other clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Client {
    /// The owner of an API key, by name.
    Key(Arc<str>),
    /// An address; for IPv6, the first address of the network. Use [`Client::address`].
    Address(IpAddr),
    /// This process itself, for the command line.
    #[default]
    Local,
}

/// What a conversion is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client waits for the response.
    Request,
    /// A job, which waits for its turn in a queue of its own. Waiting takes none of its time.
    Job {
        /// The memory limit, as a multiple of that of a request.
        memory_factor: u32,
    },
}

impl Purpose {
    pub const fn is_job(self) -> bool {
        matches!(self, Purpose::Job { .. })
    }

    /// The memory limit, as a multiple of that of a request.
    pub const fn memory_factor(self) -> u32 {
        match self {
            Purpose::Request => 1,
            Purpose::Job { memory_factor } => memory_factor,
        }
    }
}

/// Bits of an IPv6 address that its owner cannot choose: a household or a server has a /64 at least.
const NETWORK_BITS: u32 = 64;

impl Client {
    pub fn address(address: IpAddr) -> Self {
        Client::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for Client {
    /// Writes a text that is different for each client.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Client::Key(name) => write!(out, "key:{name}"),
            Client::Address(address) => write!(out, "address:{address}"),
            Client::Local => out.write_str("local"),
        }
    }
}

/// Bytes that clients hold of a shared resource, in total and for each client.
#[derive(Debug, Default)]
pub struct HeldBytes {
    all: u64,
    by_client: HashMap<Client, u64>,
}

impl HeldBytes {
    pub fn all(&self) -> u64 {
        self.all
    }

    pub fn of(&self, client: &Client) -> u64 {
        self.by_client.get(client).copied().unwrap_or_default()
    }

    pub fn add(&mut self, client: &Client, bytes: u64) {
        self.all += bytes;
        *self.by_client.entry(client.clone()).or_default() += bytes;
    }

    /// Releases bytes that were added. A client that holds nothing is removed.
    pub fn subtract(&mut self, client: &Client, bytes: u64) {
        self.all -= bytes;
        if let Some(of_client) = self.by_client.get_mut(client) {
            *of_client -= bytes;
            if *of_client == 0 {
                self.by_client.remove(client);
            }
        }
    }
}

#[cfg(test)]
impl HeldBytes {
    /// Whether no client holds anything.
    pub fn is_empty(&self) -> bool {
        self.all == 0 && self.by_client.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client() {
        let client = |text: &str| Client::address(text.parse().unwrap());
        assert_eq!(client("2001:db8:1:2::1"), client("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(client("2001:db8:1:2::1"), client("2001:db8:1:3::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_eq!(client("2001:db8:1:2::1").to_string(), "address:2001:db8:1:2::");
        assert_eq!(Client::Key("ci".into()).to_string(), "key:ci");
    }
}
