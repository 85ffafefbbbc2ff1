//! Host keys: what kind, which fingerprint, and whether a signature is theirs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use sha2::{Digest as _, Sha256};

use super::wire::{Reader, unpadded};

/// A host key as the server sent it.
pub(super) struct HostKey {
    blob: Vec<u8>,
    public: Public,
}

enum Public {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    P384(Vec<u8>),
    Rsa { e: Vec<u8>, n: Vec<u8> },
}

impl HostKey {
    /// RFC 8709 section 4, RFC 5656 section 3.1, RFC 4253 section 6.6.
    pub(super) fn read(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(blob);
        let public = match reader.string()? {
            b"ssh-ed25519" => Public::Ed25519(reader.string()?.to_vec()),
            b"ssh-rsa" => {
                let (e, n) = (reader.string()?, reader.string()?);
                Public::Rsa { e: unpadded(e).to_vec(), n: unpadded(n).to_vec() }
            }
            kind @ (b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384") => {
                let (_curve, point) = (reader.string()?, reader.string()?.to_vec());
                if kind.ends_with(b"256") { Public::P256(point) } else { Public::P384(point) }
            }
            _ => return None,
        };
        Some(Self { blob: blob.to_vec(), public })
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self.public {
            Public::Ed25519(_) => "ed25519",
            Public::P256(_) | Public::P384(_) => "ecdsa",
            Public::Rsa { .. } => "rsa",
        }
    }

    /// As `ssh-keygen -l` prints it.
    pub(super) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// Tells whether `signature` over `message` is this key's.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.check(message, signature).is_some()
    }

    fn check(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let mut reader = Reader::new(signature);
        let (name, bytes) = (reader.string()?, reader.string()?);
        match (&self.public, name) {
            (Public::Ed25519(key), b"ssh-ed25519") => UnparsedPublicKey::new(&ED25519, key).verify(message, bytes),
            (Public::P256(key), b"ecdsa-sha2-nistp256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, &fixed(bytes, 32)?)
            }
            (Public::P384(key), b"ecdsa-sha2-nistp384") => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, &fixed(bytes, 48)?)
            }
            (Public::Rsa { e, n }, b"rsa-sha2-512") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA512, message, bytes)
            }
            (Public::Rsa { e, n }, b"rsa-sha2-256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, bytes)
            }
            _ => return None,
        }
        .ok()
    }
}

/// The two numbers of an ECDSA signature, each filled up to `size` bytes.
fn fixed(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let mut joined = Vec::new();
    for _ in 0..2 {
        let number = unpadded(reader.string()?);
        joined.resize(joined.len() + size.checked_sub(number.len())?, 0);
        joined.extend_from_slice(number);
    }
    Some(joined)
}
