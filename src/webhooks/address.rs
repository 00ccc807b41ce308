//! The addresses that webhooks may be sent to: public ones, and those of `WEBHOOK_ALLOW`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::config::WebhookAllow;

/// IPv4 networks that are not public, from IANA's registry of special-purpose addresses.
const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    // Shared between providers and their customers.
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    // Link-local, with the metadata of most clouds at 169.254.169.254.
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    // Relays of 6to4, which no longer exist.
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    v4([224, 0, 0, 0], 3),
    // A service of Azure for its virtual machines.
    v4([168, 63, 129, 16], 32),
];

/// The IPv6 addresses that are in use. Outside are loopback, unique local (with the metadata of some clouds),
/// link-local, multicast and IPv4-compatible addresses.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// Networks in [`GLOBAL_V6`] that are not public.
const NOT_PUBLIC_V6: [Ipv6Net; 3] = [
    // Protocols, with Teredo, which embeds an IPv4 address, and benchmarks.
    v6([0x2001, 0], 23),
    // Documentation.
    v6([0x2001, 0xdb8], 32),
    v6([0x3fff, 0], 20),
];

/// Decides which addresses a webhook may be sent to.
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    allow: WebhookAllow,
}

/// Why there is no address to send a webhook to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address is not public")]
    NotPublic,
    #[error("the name resolves to an address that is not public")]
    NameNotPublic,
    #[error("the name could not be resolved")]
    Unresolved,
}

impl AddressPolicy {
    pub fn new(allow: WebhookAllow) -> Self {
        Self { allow }
    }

    /// Checks a host that is an address. Names pass: only their addresses count, when they are resolved.
    ///
    /// # Errors
    /// `NotPublic`
    pub fn check_host(&self, url: &Url) -> Result<(), AddressError> {
        let allowed = match url.host() {
            Some(Host::Ipv4(address)) => self.allows(address.into()),
            Some(Host::Ipv6(address)) => self.allows(address.into()),
            Some(Host::Domain(_)) | None => true,
        };
        if allowed { Ok(()) } else { Err(AddressError::NotPublic) }
    }

    /// Resolves a name; leaves out addresses that are not allowed.
    ///
    /// # Errors
    /// When no address is left.
    pub async fn resolve(&self, name: &str) -> Result<Vec<SocketAddr>, AddressError> {
        let found = tokio::net::lookup_host((name, 0)).await.map_err(|_| AddressError::Unresolved)?;
        self.filter(name, found.collect())
    }

    fn filter(&self, name: &str, mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AddressError> {
        if found.is_empty() {
            return Err(AddressError::Unresolved);
        }
        let name = name.trim_end_matches('.');
        if !self.allow.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
            found.retain(|address| self.allows(address.ip()));
        }
        if found.is_empty() { Err(AddressError::NameNotPublic) } else { Ok(found) }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allow.networks.iter().any(|network| network.contains(&address))
    }
}

/// Whether anybody on the Internet can reach the address. An address that embeds an IPv4 address is as public as that.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => match address.segments() {
            // NAT64 and 6to4.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                let embedded = Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
                is_public(embedded.into())
            }
            _ => {
                GLOBAL_V6.contains(&address)
                    && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
            }
        },
    }
}

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

/// The network of the address that begins with these two groups.
const fn v6([first, second]: [u16; 2], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(names: &[&str], networks: &[&str]) -> AddressPolicy {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        AddressPolicy::new(WebhookAllow { names, networks })
    }

    fn check(policy: &AddressPolicy, host: &str) -> Result<(), AddressError> {
        let url = format!("http://{host}/hook");
        policy.check_host(&url.parse::<Url>().unwrap_or_else(|error| panic!("{url}: {error}")))
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a row for each address")]
    fn only_public_addresses_are_called() {
        let strict = policy(&[], &[]);
        for host in [
            // Loopback, in every spelling that a URL can have.
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "127.255.255.254",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0x0.0X1",
            "0177.0.0.1",
            "017700000001",
            "%31%32%37.0.0.1",
            "１２７.０.０.１",
            "127。0。0。1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[::7f00:1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b:1::8.8.8.8]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[::ffff:0:7f00:1]",
            // This host.
            "0",
            "0.0.0.0",
            "0.1.2.3",
            "[::]",
            // Private, and shared with a provider.
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "0xc0a80101",
            "[::ffff:192.168.1.1]",
            "[64:ff9b::a00:1]",
            "[2002:c0a8:101::1]",
            "[fc00::1]",
            "[fdff::1]",
            // Link-local and metadata.
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[fe80::1]",
            "[febf::1]",
            "[fec0::1]",
            "168.63.129.16",
            // Multicast, broadcast, reserved, documentation, benchmarks.
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "[ff02::1]",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "[2001:db8::1]",
            "[2001:2::1]",
            "[3fff::1]",
            "[100::1]",
            "[5f00::1]",
            "[4000::1]",
        ] {
            assert_eq!(check(&strict, host), Err(AddressError::NotPublic), "{host}");
        }
        for host in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "[2606:4700:4700::1111]",
            "[2001:4860:4860::8888]",
            "[2a00::1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::808:808]",
            "[2002:808:808::1]",
            // Names count once they are resolved.
            "localhost",
            "example.com",
        ] {
            assert_eq!(check(&strict, host), Ok(()), "{host}");
        }
    }

    #[test]
    fn allowed_networks_are_called() {
        let allowing = policy(&[], &["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]);
        for host in ["127.1", "[::ffff:7f00:1]", "10.9.8.7", "[fd12::1]", "8.8.8.8"] {
            assert_eq!(check(&allowing, host), Ok(()), "{host}");
        }
        for host in ["127.0.0.2", "[::1]", "192.168.0.1", "[fc00::1]", "[64:ff9b::a00:1]"] {
            assert_eq!(check(&allowing, host), Err(AddressError::NotPublic), "{host}");
        }
    }

    #[test]
    fn addresses_of_a_name_are_called_if_they_are_public_or_the_name_is_allowed() {
        let addresses =
            |list: &[&str]| list.iter().map(|each| each.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = addresses(&["10.0.0.1:0", "8.8.8.8:0", "[::1]:0"]);
        let strict = policy(&["hooks.internal"], &[]);
        assert_eq!(strict.filter("example.com", mixed.clone()), Ok(addresses(&["8.8.8.8:0"])));
        let private = addresses(&["10.0.0.1:0", "[::ffff:7f00:1]:0"]);
        assert_eq!(strict.filter("example.com", private.clone()), Err(AddressError::NameNotPublic));
        assert_eq!(strict.filter("hooks.internal.example.com", private), Err(AddressError::NameNotPublic));
        for name in ["hooks.internal", "Hooks.Internal."] {
            assert_eq!(strict.filter(name, mixed.clone()), Ok(mixed.clone()));
        }
        assert_eq!(strict.filter("hooks.internal", vec![]), Err(AddressError::Unresolved));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_called() {
        let strict = policy(&[], &[]);
        assert_eq!(strict.resolve("localhost").await, Err(AddressError::NameNotPublic));
        let allowing = policy(&["localhost"], &[]);
        assert!(
            allowing.resolve("localhost").await.unwrap().iter().all(|address| address.ip().is_loopback())
        );
    }
}
