//! SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677): the one heavy login that PostgreSQL asks for.
//!
//! The server proves that it knows the password too, so a wrong server is told from a right one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::Private;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Most rounds of PBKDF2 that a server may ask of us: PostgreSQL's default is 4,096, and each round costs about a
/// microsecond of a thread that others need too.
const ROUNDS_MAX: u32 = 50_000;
/// Longest nonce and salt, encoded, that are believed.
const FIELD_BYTES_MAX: usize = 1_024;

/// Why a login cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the server's SCRAM message cannot be read")]
    Malformed,
    #[error("the server's SCRAM nonce does not continue ours")]
    Nonce,
    #[error("the server asks for more than {ROUNDS_MAX} rounds of PBKDF2")]
    Rounds,
    #[error("the server does not prove that it knows the password")]
    Proof,
}

/// A login that has begun.
pub(super) struct Scram {
    nonce: String,
}

/// A login whose proof was sent.
pub(super) struct Proven {
    signature: [u8; 32],
}

impl Scram {
    /// Starts a login with 18 random bytes.
    pub(super) fn new(random: [u8; 18]) -> Self {
        Self { nonce: BASE64.encode(random) }
    }

    /// Returns the client's first message. The user's name is left out: PostgreSQL takes the one of the startup.
    pub(super) fn first(&self) -> String {
        format!("n,,n=,r={}", self.nonce)
    }

    /// Answers the server's first message with the client's last.
    pub(super) fn prove(self, server_first: &[u8], password: &Private<String>) -> Result<(String, Proven), Refusal> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| Refusal::Malformed)?;
        let mut fields = server_first.split(',');
        let mut field = |name: &str| {
            let value = fields.next().and_then(|field| field.strip_prefix(name)).ok_or(Refusal::Malformed)?;
            if value.len() > FIELD_BYTES_MAX { Err(Refusal::Malformed) } else { Ok(value) }
        };
        let nonce = field("r=")?;
        let salt = BASE64.decode(field("s=")?).map_err(|_| Refusal::Malformed)?;
        let rounds: u32 = field("i=")?.parse().map_err(|_| Refusal::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Refusal::Nonce);
        }
        if rounds == 0 {
            return Err(Refusal::Malformed);
        }
        if rounds > ROUNDS_MAX {
            return Err(Refusal::Rounds);
        }
        // SASLprep leaves ASCII as it is; PostgreSQL itself falls back to the raw bytes for what it cannot prepare.
        let salted = pbkdf2(password.expose().as_bytes(), &salt, rounds);
        let client_key = mac(&salted, &[b"Client Key"]);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let without_proof = format!("c=biws,r={nonce}");
        let message = [b"n=,r=", self.nonce.as_bytes(), b",", server_first.as_bytes(), b",", without_proof.as_bytes()];
        let client_signature = mac(&stored_key, &message);
        let mut proof = client_key;
        for (byte, mask) in proof.iter_mut().zip(client_signature) {
            *byte ^= mask;
        }
        let signature = mac(&mac(&salted, &[b"Server Key"]), &message);
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)), Proven { signature }))
    }
}

impl Proven {
    /// Checks the server's last message.
    pub(super) fn confirm(&self, server_final: &[u8]) -> Result<(), Refusal> {
        let encoded = server_final.strip_prefix(b"v=").ok_or(Refusal::Malformed)?;
        let signature = BASE64.decode(encoded).map_err(|_| Refusal::Malformed)?;
        if bool::from(signature.as_slice().ct_eq(&self.signature)) { Ok(()) } else { Err(Refusal::Proof) }
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// PBKDF2-HMAC-SHA-256 for one block of output (RFC 8018 section 5.2).
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("invariant: HMAC takes keys of any length");
    let round = |parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    };
    let mut block = round(&[salt, &1_u32.to_be_bytes()]);
    let mut output = block;
    for _ in 1..rounds {
        block = round(&[&block]);
        for (byte, mask) in output.iter_mut().zip(block) {
            *byte ^= mask;
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password() -> Private<String> {
        Private::new("pencil".to_owned())
    }

    /// RFC 7677 section 3, but for the user's name, which PostgreSQL leaves empty: so the figures are recomputed with
    /// Python's hashlib, and PBKDF2 alone is held against the RFC's salt.
    #[test]
    fn pbkdf2_agrees_with_another_implementation() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let salted = pbkdf2(b"pencil", &salt, 4_096);
        assert_eq!(BASE64.encode(salted), "xKSVEDI6tPlSysH6mUQZOeeOp01r6B3fcJbodRPcYV0=");
        let server_key = mac(&salted, &[b"Server Key"]);
        assert_eq!(BASE64.encode(server_key), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    }

    #[test]
    fn a_login_is_proven_both_ways() {
        let scram = Scram::new([7; 18]);
        let first = scram.first();
        let nonce = first.strip_prefix("n,,n=,r=").expect("a nonce").to_owned();
        let server_first = format!("r={nonce}xyz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let (last, proven) = scram.prove(server_first.as_bytes(), &password()).expect("it can be answered");
        assert!(last.starts_with(&format!("c=biws,r={nonce}xyz,p=")));
        let message = format!("n=,r={nonce},{server_first},c=biws,r={nonce}xyz");
        let server_key = BASE64.decode("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=").expect("base64");
        let right = format!("v={}", BASE64.encode(mac(&server_key, &[message.as_bytes()])));
        assert_eq!(proven.confirm(right.as_bytes()), Ok(()));
        let wrong = format!("v={}", BASE64.encode([0; 32]));
        assert_eq!(proven.confirm(wrong.as_bytes()), Err(Refusal::Proof));
        for bad in [&b"e=other-error"[..], b"v=###", b""] {
            assert_eq!(proven.confirm(bad), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn hostile_first_messages_are_refused() {
        let nonce = BASE64.encode([7; 18]);
        let long = "A".repeat(2_000);
        for (message, refusal) in [
            (String::new(), Refusal::Malformed),
            ("\u{fffd}".to_owned(), Refusal::Malformed),
            (format!("r={nonce}x,s=####,i=1"), Refusal::Malformed),
            (format!("r={nonce}x,s=AAAA,i=x"), Refusal::Malformed),
            (format!("r={nonce}x,s=AAAA,i=0"), Refusal::Malformed),
            (format!("r={nonce}x,s=AAAA"), Refusal::Malformed),
            (format!("r={nonce}x,s={long},i=1"), Refusal::Malformed),
            (format!("r={nonce},s=AAAA,i=1"), Refusal::Nonce),
            ("r=other,s=AAAA,i=1".to_owned(), Refusal::Nonce),
            (format!("r={nonce}x,s=AAAA,i=4294967295"), Refusal::Rounds),
        ] {
            let refused = Scram::new([7; 18]).prove(message.as_bytes(), &password());
            assert_eq!(refused.map(|_| ()), Err(refusal), "{message}");
        }
        assert_eq!(Scram::new([7; 18]).prove(&[0xff], &password()).map(|_| ()), Err(Refusal::Malformed));
    }
}
