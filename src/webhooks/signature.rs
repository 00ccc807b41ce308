//! Signs webhooks: HMAC-SHA256, as Standard Webhooks specifies for symmetric signatures.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::WebhookSecret;

/// Signs with every secret. Clones share the keys.
#[derive(Debug, Clone)]
pub struct Signer(Arc<[hmac::Key]>);

impl Signer {
    pub fn new(secrets: &[WebhookSecret]) -> Self {
        Self(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose())).collect())
    }

    /// Returns the value of `webhook-signature`: a signature for each secret, in their order, separated by spaces.
    /// `timestamp` is in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let content = format!("{id}.{timestamp}.{body}");
        let signature = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, content.as_bytes())));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    const ID: &str = "0197f8a1-5c5e-7cc3-98c4-dc0c0c07398f";
    const BODY: &str = r#"{"type":"job.succeeded"}"#;
    /// 32 bytes from 0 to 31.
    const OLD: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    /// 24 bytes of 0xfb.
    const NEW: &str = "whsec_+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7";

    // Computed with Python's `hmac`.
    const OLD_SIGNATURE: &str = "v1,Ld1mS0nfk9b4/RPgVN8145X7t5yArh8zRY8zGCqV31U=";
    const NEW_SIGNATURE: &str = "v1,TrZU3XN9M40jVeBoOPBwTFsLxae7RyBeJtNH+bS/crU=";

    fn signer(secrets: &str) -> Signer {
        let sources = Sources::new([("WEBHOOK_SECRET".into(), secrets.into())]);
        Signer::new(&Config::load(&sources).unwrap().webhooks.secrets)
    }

    #[test]
    fn the_vector_of_the_specification_s_libraries_is_met() {
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_secret_signs_in_its_order() {
        assert_eq!(signer(OLD).sign(ID, 1_700_000_000, BODY), OLD_SIGNATURE);
        let both = signer(&format!("{NEW},{OLD}")).sign(ID, 1_700_000_000, BODY);
        assert_eq!(both, format!("{NEW_SIGNATURE} {OLD_SIGNATURE}"));
    }

    #[test]
    fn each_part_changes_the_signature() {
        let old = signer(OLD);
        let signed = old.sign(ID, 1_700_000_000, BODY);
        for other in [
            old.sign("another", 1_700_000_000, BODY),
            old.sign(ID, 1_700_000_001, BODY),
            old.sign(ID, 1_700_000_000, "{}"),
        ] {
            assert_ne!(signed, other);
        }
    }
}
