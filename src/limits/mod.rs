//! How many requests a client may send: so many in any stretch of time as long as the window, exactly.
//!
//! The times of a client's latest requests are kept, each until a window has passed: a request is let in while there
//! are fewer than it may send. One that is refused is not kept, so that trying again costs nothing. `embedded` keeps
//! them in this process; `redis` keeps them for all processes, and has the first at hand for when Redis is away.

mod embedded;
mod redis;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

pub use embedded::Embedded;
pub use redis::OnRedis;

/// Counts requests.
pub trait Limiter: Send + Sync {
    /// A request came. It counts if it is let in, and until its ticket is given back.
    fn take<'a>(&'a self, who: &'a Who, quota: Quota) -> BoxFuture<'a, Decision>;

    /// A request does not count after all.
    fn give_back(&self, ticket: Ticket) -> BoxFuture<'_, ()>;
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// The owner of an API key, by name.
    Key(Arc<str>),
    /// Of IPv6, the first address of the network; use [`Who::address`].
    Address(IpAddr),
}

/// How many requests in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: NonZeroU32,
    pub window: Duration,
}

/// What becomes of a request.
#[derive(Debug)]
pub struct Decision {
    /// How many more may come now.
    pub remaining: u32,
    /// How long there will be no more than that; where the request is refused, when to try again.
    pub reset: Duration,
    /// What lets the request in; none: it is refused.
    pub ticket: Option<Ticket>,
}

/// One request that counts.
#[derive(Debug)]
pub struct Ticket {
    who: Who,
    entry: Entry,
}

/// Where it is written down.
#[derive(Debug)]
enum Entry {
    /// In this process, by number.
    Here(u64),
    Redis(Uuid),
}

/// The part of an IPv6 address that its owner cannot choose: a household or a server has a /64 at least.
const NETWORK_BITS: u32 = 64;

impl Who {
    pub fn address(address: IpAddr) -> Self {
        Who::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl fmt::Display for Who {
    /// One text for each, and no two the same.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Who::Key(name) => write!(out, "key:{name}"),
            Who::Address(address) => write!(out, "address:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_network_has_one_limit() {
        let who = |text: &str| Who::address(text.parse().unwrap());
        assert_eq!(who("2001:db8:1:2::1"), who("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(who("2001:db8:1:2::1"), who("2001:db8:1:3::1"));
        assert_ne!(who("192.0.2.1"), who("192.0.2.2"));
        assert_eq!(who("::ffff:192.0.2.1"), who("192.0.2.1"));
        assert_eq!(who("2001:db8:1:2::1").to_string(), "address:2001:db8:1:2::");
        assert_eq!(Who::Key("ci".into()).to_string(), "key:ci");
    }
}
