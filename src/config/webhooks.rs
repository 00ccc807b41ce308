//! Parses the settings of webhooks.

use std::ffi::OsStr;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use url::Host;

use super::values::{self, InvalidValue};

/// The beginning of a secret in the form of Standard Webhooks.
const PREFIX: &str = "whsec_";

/// Bytes of a secret, from the same specification.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The bytes of a secret that signs webhooks.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// Receivers that may have private addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookAllow {
    /// In lower case, without a dot at the end.
    pub names: Vec<String>,
    pub networks: Vec<IpNet>,
}

impl WebhookSecret {
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// The list of secrets. Errors name a secret by its number.
pub fn secrets(value: &OsStr) -> Result<Vec<WebhookSecret>, InvalidValue> {
    let texts = values::text(value)?.split(|letter: char| letter == ',' || letter.is_whitespace());
    let mut secrets = Vec::new();
    for (text, number) in texts.filter(|text| !text.is_empty()).zip(1..) {
        secrets.push(secret(text).map_err(|why| InvalidValue::Because(format!("secret {number} {why}")))?);
    }
    if secrets.is_empty() { Err(InvalidValue::Because("it is empty".to_owned())) } else { Ok(secrets) }
}

/// A secret; the error does not quote it.
fn secret(text: &str) -> Result<WebhookSecret, &'static str> {
    let encoded = text.strip_prefix(PREFIX).ok_or("does not begin with whsec_")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "has no valid Base64 after whsec_")?;
    if !LENGTHS.contains(&bytes.len()) {
        return Err("does not have 24 to 64 bytes");
    }
    Ok(WebhookSecret(bytes))
}

/// The list of receivers.
pub fn allow(value: &OsStr) -> Result<WebhookAllow, InvalidValue> {
    let mut allow = WebhookAllow::default();
    for part in values::parts(values::text(value)?) {
        if let Some(network) = values::network(part) {
            allow.networks.push(network);
        } else {
            allow.names.push(name(part).ok_or_else(|| InvalidValue::Part(part.to_owned()))?);
        }
    }
    Ok(allow)
}

/// A host's name, in the form that it has in a parsed URL.
fn name(text: &str) -> Option<String> {
    match Host::parse(text) {
        Ok(Host::Domain(name)) if values::is_name(&name) => Some(name.trim_end_matches('.').to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(value: &str) -> Result<Vec<Vec<u8>>, InvalidValue> {
        Ok(secrets(OsStr::new(value))?.iter().map(|secret| secret.expose().to_owned()).collect())
    }

    #[test]
    fn secrets_are_separated_by_commas_or_spaces() {
        let (one, other) = (format!("whsec_{}", "AAAA".repeat(8)), format!("whsec_{}", "////".repeat(8)));
        let both = [vec![0; 24], vec![255; 24]];
        for list in [format!("{one},{other}"), format!(" {one} ,, {other},"), format!("{one}\n{other}\n")] {
            assert_eq!(bytes_of(&list).unwrap(), both);
        }
        assert_eq!(format!("{:?}", secrets(OsStr::new(&one)).unwrap()), "[(secret)]");
    }

    #[test]
    fn secrets_have_24_to_64_bytes() {
        let because = |why: &str| Err(InvalidValue::Because(why.to_owned()));
        let secret = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for length in [24, 32, 64] {
            assert_eq!(bytes_of(&secret(length)), Ok(vec![vec![7; length]]));
        }
        for length in [0, 23, 65] {
            let list = format!("{},{}", secret(24), secret(length));
            assert_eq!(bytes_of(&list), because("secret 2 does not have 24 to 64 bytes"));
        }
        assert_eq!(bytes_of(&"AAAA".repeat(8)), because("secret 1 does not begin with whsec_"));
        for wrong in ["AAA", "AA-_", "AAA*", "AA=="] {
            let list = format!("whsec_{}{wrong}", "AAAA".repeat(8));
            let expected = if wrong == "AA==" {
                Ok(vec![vec![0; 25]])
            } else {
                because("secret 1 has no valid Base64 after whsec_")
            };
            assert_eq!(bytes_of(&list), expected, "{wrong}");
        }
        assert_eq!(bytes_of(" , "), because("it is empty"));
    }

    #[test]
    fn receivers_are_names_addresses_and_networks() {
        let allowed =
            allow(OsStr::new("Hooks.internal., 10.1.2.3, fd00::/8, ::ffff:10.0.0.0/104, münchen.example"));
        let WebhookAllow { names, networks } = allowed.unwrap();
        assert_eq!(names, ["hooks.internal", "xn--mnchen-3ya.example"]);
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.1.2.3/32", "fd00::/8", "10.0.0.0/8"]);
        for wrong in
            ["10.0.0.0/33", "127.1", "http://hooks", "hooks:80", "[::1]", "*.internal", "a b", "a;b=c"]
        {
            let expected = Err(InvalidValue::Part(wrong.to_owned()));
            assert_eq!(allow(OsStr::new(&format!("good, {wrong}"))), expected);
        }
    }
}
