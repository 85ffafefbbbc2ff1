//! The few constructions that keys, pseudonyms and boxes are made of, each written down once.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A secret of 32 bytes that is wiped when it goes.
pub(crate) type Secret = Zeroizing<[u8; 32]>;
/// Bytes of a nonce: long enough to be drawn at random for ever.
pub(crate) const NONCE_BYTES: usize = 24;
/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;

/// Starts an HMAC-SHA256.
pub(crate) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("invariant: HMAC takes keys of any length")
}

/// Returns HMAC-SHA256(key, parts joined).
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    finish(hmac(key), parts)
}

/// Feeds `parts` to a keyed MAC and ends it.
pub(crate) fn finish(mut mac: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Returns the first 32 bytes of HKDF-SHA256 (RFC 5869). `extract` is HMAC keyed with the salt.
pub(crate) fn hkdf(extract: Hmac<Sha256>, ikm: &[&[u8]], info: &[&[u8]]) -> Secret {
    let prk = Zeroizing::new(finish(extract, ikm));
    let mut expand = hmac(&*prk);
    info.iter().for_each(|part| expand.update(part));
    expand.update(&[1]);
    Zeroizing::new(expand.finalize().into_bytes().into())
}

/// Seals what stands in `out` from `from` on with XChaCha20-Poly1305, in place; the tag follows it.
pub(crate) fn seal(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], ad: &[u8], out: &mut Vec<u8>, from: usize) {
    let cipher = XChaCha20Poly1305::new(key.into());
    let text = out.get_mut(from..).unwrap_or_default();
    let tag = cipher
        .encrypt_inout_detached(&XNonce::from(*nonce), ad, text.into())
        .expect("invariant: what is sealed is far shorter than 256 GiB");
    out.extend_from_slice(&tag);
}

/// Opens what [`seal`] made; `None` when key, nonce, associated data or bytes are others.
pub(crate) fn open(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], ad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
    let mut text = Zeroizing::new(text.to_vec());
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt_inout_detached(&XNonce::from(*nonce), ad, text.as_mut_slice().into(), &Tag::from(*tag)).ok()?;
    Some(text)
}

/// Draws a secret.
pub(crate) fn draw(rng: &dyn model::Rng) -> Secret {
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill(&mut *secret);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hkdf_is_that_of_rfc_5869() {
        for (salt, ikm, info) in [(&b"salt"[..], &b"key"[..], &b"info"[..]), (b"", b"k", b"dihya/pseud/1")] {
            let mut theirs = [0; 32];
            hkdf::Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut theirs).expect("is short");
            let (a, b) = ikm.split_at(1);
            assert_eq!(*hkdf(hmac(salt), &[a, b], &[info]), theirs);
        }
    }

    /// The vector of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn sealing_is_xchacha20_poly1305() {
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let key = std::array::from_fn(|i| 0x80 + u8::try_from(i).expect("is small"));
        let nonce = std::array::from_fn(|i| 0x40 + u8::try_from(i).expect("is small"));
        let ad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut out = b"head".to_vec();
        out.extend_from_slice(text);
        seal(&key, &nonce, &ad, &mut out, 4);
        assert_eq!(out.get(4..12), Some(&[0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b][..]));
        let tag = [0xc0, 0x87, 0x59, 0x24, 0xc1, 0xc7, 0x98, 0x79, 0x47, 0xde, 0xaf, 0xd8, 0x78, 0x0a, 0xcf, 0x49];
        assert!(out.ends_with(&tag));
        let sealed = out.split_off(4);
        assert_eq!(open(&key, &nonce, &ad, &sealed).as_deref().map(Vec::as_slice), Some(&text[..]));
        assert!(open(&key, &nonce, b"other", &sealed).is_none());
        assert!(open(&key, &nonce, &ad, &sealed[1..]).is_none());
        assert!(open(&key, &nonce, &ad, &sealed[..9]).is_none());
    }
}
