//! Signed notes (c2sp.org/signed-note) with Ed25519 (0x01) and ML-DSA-44 (0x06, c2sp.org/tlog-cosignature) signatures.
//!
//! Our checkpoints carry both: any foreign verifier accepts the Ed25519 line alone, and ours asks for both, because the
//! ML-DSA implementation was never audited and Ed25519 falls to a quantum computer.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use ml_dsa::{Keypair as _, MlDsa44};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::checkpoint::Checkpoint;
use crate::malformed::Malformed;
use crate::merkle::Hash;

const WHAT: &str = "note";
/// Longest note that is read; a hybrid checkpoint with 16 ML-DSA-44 cosignatures has some 55,000 bytes.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
/// Most signature lines that are read; the specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 256;
/// The signature type of Ed25519 over the text.
pub const ED25519: u8 = 0x01;
/// The signature type of ML-DSA-44 over `subtree/v1`.
pub const ML_DSA_44: u8 = 0x06;
/// Length of an ML-DSA-44 public key.
pub const ML_DSA_44_PUBLIC_BYTES: usize = 1_312;
const ML_DSA_44_SIGNATURE_BYTES: usize = 2_420;

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The name of the key.
    pub name: &'a str,
    /// The first four bytes of the hash of name, type and public key.
    pub key_id: [u8; 4],
    /// What follows the key id.
    pub signature: Vec<u8>,
}

/// A note that was taken apart, not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// What is signed, with its last newline. To be ignored until [`Note::verify`] accepted it.
    pub text: &'a str,
    /// The signature lines.
    pub lines: Vec<Line<'a>>,
}

impl<'a> Note<'a> {
    /// Takes a note apart.
    ///
    /// # Errors
    /// When it is too long, not UTF-8, holds control characters other than newline, or has no well-formed signature
    /// lines after its last empty line.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new(WHAT, why);
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(bad("is longer than its bound"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(bad("has control characters"));
        }
        let (head, tail) = note.rsplit_once("\n\n").ok_or(bad("has no empty line before its signatures"))?;
        // The text keeps the newline that ends its last line.
        let (text, _) = note.split_at(head.len() + 1);
        let tail = tail.strip_suffix('\n').ok_or(bad("does not end with a newline"))?;
        let mut lines = Vec::new();
        for line in tail.split('\n') {
            if lines.len() == SIGNATURES_MAX {
                return Err(bad("has too many signatures"));
            }
            lines.push(parse_line(line).ok_or(bad("has a malformed signature line"))?);
        }
        Ok(Self { text, lines })
    }

    /// Tells whether the key `verifier` signed the text. `None` when no line is of that key; lines of other keys, even
    /// of the same name or the same id, are ignored.
    #[must_use]
    pub fn verify(&self, verifier: &Verifier) -> Option<bool> {
        let mut ours = self.lines.iter().filter(|line| line.name == verifier.name && line.key_id == verifier.key_id);
        let first = ours.next()?;
        Some(std::iter::once(first).chain(ours).all(|line| verifier.verifies(self.text, &line.signature)))
    }
}

fn parse_line(line: &str) -> Option<Line<'_>> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    (is_key_name(name) && !signature.is_empty()).then(|| Line { name, key_id: *key_id, signature: signature.to_vec() })
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

fn key_id(name: &str, ty: u8, public: &[u8]) -> [u8; 4] {
    let hash: [u8; 32] =
        Sha256::new().chain_update(name).chain_update([b'\n', ty]).chain_update(public).finalize().into();
    *hash.first_chunk().expect("invariant: 32 bytes hold 4")
}

/// A public key under a name.
#[derive(Clone, PartialEq)]
pub struct Verifier {
    name: String,
    key_id: [u8; 4],
    key: PublicKey,
}

#[derive(Clone, PartialEq)]
enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = u32::from_be_bytes(self.key_id);
        write!(f, "Verifier({}+{id:08x}, type {:#04x})", self.name, self.ty())
    }
}

impl Verifier {
    /// Reads a verifier key: `name+hash+base64(type | public key)`.
    ///
    /// # Errors
    /// When it is malformed, its hash is not that of its key, or its type is neither 0x01 nor 0x06.
    pub fn parse(vkey: &str) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("verifier key", why);
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("is not name+hash+key"));
        };
        let key = STANDARD.decode(key).map_err(|_| bad("is not base64"))?;
        let verifier = match key.split_first() {
            Some((&ED25519, public)) => Self::ed25519(name, public)?,
            Some((&ML_DSA_44, public)) => Self::ml_dsa_44(name, public)?,
            _ => return Err(bad("is of an unknown type")),
        };
        if hash != format!("{:08x}", u32::from_be_bytes(verifier.key_id)) {
            return Err(bad("has another hash than its key"));
        }
        Ok(verifier)
    }

    /// Names a raw Ed25519 public key.
    ///
    /// # Errors
    /// When the name has spaces or a plus, or the key is not 32 bytes of a point on the curve.
    pub fn ed25519(name: &str, public: &[u8]) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("Ed25519 key", why);
        let name = checked_name(name)?;
        let bytes = public.try_into().map_err(|_| bad("is not 32 bytes"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| bad("is not a point on the curve"))?;
        Ok(Self { key_id: key_id(&name, ED25519, public), name, key: PublicKey::Ed25519(key) })
    }

    /// Names a raw ML-DSA-44 public key: the file `mldsa.pub`.
    ///
    /// # Errors
    /// When the name has spaces or a plus, or the key is not 1,312 bytes.
    pub fn ml_dsa_44(name: &str, public: &[u8]) -> Result<Self, Malformed> {
        let name = checked_name(name)?;
        let encoded = public.try_into().map_err(|_| Malformed::new("ML-DSA-44 key", "is not 1312 bytes"))?;
        let key = Box::new(ml_dsa::VerifyingKey::decode(&encoded));
        Ok(Self { key_id: key_id(&name, ML_DSA_44, public), name, key: PublicKey::MlDsa44(key) })
    }

    /// Returns the key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key's id.
    #[must_use]
    pub const fn key_id(&self) -> [u8; 4] {
        self.key_id
    }

    /// Returns the type of its signatures: [`ED25519`] or [`ML_DSA_44`].
    #[must_use]
    pub const fn ty(&self) -> u8 {
        match self.key {
            PublicKey::Ed25519(_) => ED25519,
            PublicKey::MlDsa44(_) => ML_DSA_44,
        }
    }

    /// Returns the raw public key.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        match &self.key {
            PublicKey::Ed25519(public) => public.as_bytes().to_vec(),
            PublicKey::MlDsa44(public) => public.encode().to_vec(),
        }
    }

    /// Returns the verifier key as text.
    #[must_use]
    pub fn vkey(&self) -> String {
        let key = [vec![self.ty()], self.public()].concat();
        format!("{}+{:08x}+{}", self.name, u32::from_be_bytes(self.key_id), STANDARD.encode(key))
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(text.as_bytes(), &signature).is_ok()),
            PublicKey::MlDsa44(key) => {
                let Some((timestamp, signature)) = signature.split_first_chunk::<8>() else { return false };
                let timestamp = u64::from_be_bytes(*timestamp);
                let Ok(signature) = ml_dsa::Signature::<MlDsa44>::try_from(signature) else { return false };
                let Ok(checkpoint) = Checkpoint::parse(text) else { return false };
                timestamp <= i64::MAX.unsigned_abs()
                    && cosigned_message(&self.name, timestamp, &checkpoint)
                        .is_some_and(|message| key.verify_with_context(&message, &[], &signature))
            }
        }
    }
}

fn checked_name(name: &str) -> Result<String, Malformed> {
    if is_key_name(name) { Ok(name.to_owned()) } else { Err(Malformed::new("key name", "has spaces or a plus")) }
}

/// Returns the `cosigned_message` of c2sp.org/tlog-cosignature; `None` when a name does not fit its length byte.
pub(crate) fn cosigned_message(cosigner: &str, timestamp: u64, checkpoint: &Checkpoint) -> Option<Vec<u8>> {
    let mut message = b"subtree/v1\n\0".to_vec();
    for (name, value) in [(cosigner, timestamp), (&checkpoint.origin, 0)] {
        message.push(u8::try_from(name.len()).ok().filter(|len| *len > 0)?);
        message.extend_from_slice(name.as_bytes());
        // The timestamp stands after the cosigner's name, and the first leaf of the tree, 0, after the origin.
        message.extend_from_slice(&value.to_be_bytes());
    }
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(&checkpoint.root);
    Some(message)
}

/// The two seeds from which a log's signing keys are made: what `keys` stores, sealed.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub struct SecretSeeds {
    ed25519: [u8; 32],
    ml_dsa_44: [u8; 32],
}

impl std::fmt::Debug for SecretSeeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretSeeds(64 bytes)")
    }
}

impl SecretSeeds {
    /// Draws new seeds.
    #[must_use]
    pub fn generate(rng: &dyn model::Rng) -> Self {
        let mut seeds = Self { ed25519: [0; 32], ml_dsa_44: [0; 32] };
        rng.fill(&mut seeds.ed25519);
        rng.fill(&mut seeds.ml_dsa_44);
        seeds
    }

    /// Reads the 64 bytes that [`Self::expose`] gave: Ed25519's seed, then ML-DSA-44's.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut seeds = Self { ed25519: [0; 32], ml_dsa_44: [0; 32] };
        let (ed25519, ml_dsa_44) = bytes.split_at(32);
        seeds.ed25519.copy_from_slice(ed25519);
        seeds.ml_dsa_44.copy_from_slice(ml_dsa_44);
        seeds
    }

    /// Returns the 64 bytes to be stored.
    #[must_use]
    pub fn expose(&self) -> model::Private<Vec<u8>> {
        model::Private::new([self.ed25519, self.ml_dsa_44].concat())
    }
}

/// A log's signing keys, both under the name of its origin. The key material is wiped on drop.
pub struct Signer {
    name: String,
    ed25519: ed25519_dalek::SigningKey,
    ml_dsa_44: ml_dsa::SigningKey<MlDsa44>,
    verifiers: Verifiers,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.name)
    }
}

impl Signer {
    /// Makes the keys of the log `origin` from their seeds.
    #[must_use]
    pub fn new(origin: &model::Origin, seeds: &SecretSeeds) -> Self {
        let name = origin.as_str().to_owned();
        let ed25519 = ed25519_dalek::SigningKey::from_bytes(&seeds.ed25519);
        let ml_dsa_44 = ml_dsa::SigningKey::<MlDsa44>::from_seed(&seeds.ml_dsa_44.into());
        let ed25519_verifier = PublicKey::Ed25519(ed25519.verifying_key());
        let ml_dsa_public = ml_dsa_44.verifying_key();
        let verifiers = Verifiers {
            ed25519: Verifier {
                key_id: key_id(&name, ED25519, ed25519.verifying_key().as_bytes()),
                name: name.clone(),
                key: ed25519_verifier,
            },
            ml_dsa_44: Some(Verifier {
                key_id: key_id(&name, ML_DSA_44, &ml_dsa_public.encode()),
                name: name.clone(),
                key: PublicKey::MlDsa44(Box::new(ml_dsa_public)),
            }),
        };
        Self { name, ed25519, ml_dsa_44, verifiers }
    }

    /// Returns the public keys.
    #[must_use]
    pub const fn verifiers(&self) -> &Verifiers {
        &self.verifiers
    }

    /// Returns the text of the file `vkey`: the Ed25519 verifier key.
    #[must_use]
    pub fn vkey(&self) -> String {
        self.verifiers.ed25519.vkey()
    }

    /// Returns the bytes of the file `mldsa.pub`: the raw ML-DSA-44 public key.
    #[must_use]
    pub fn ml_dsa_public(&self) -> Vec<u8> {
        self.ml_dsa_44.verifying_key().encode().to_vec()
    }

    /// Signs `checkpoint` twice and returns the signed note. Deterministic: the same arguments give the same note.
    ///
    /// `unix_seconds` states that the tree was the largest at that time.
    ///
    /// # Panics
    /// Never for origins of ours, which fit the length bytes of the message.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint, unix_seconds: u64) -> String {
        let mut note = checkpoint.text();
        let (ed25519, ml_dsa_44) = self.lines(checkpoint, unix_seconds);
        note.push('\n');
        note.push_str(&ed25519);
        note.push_str(&ml_dsa_44);
        note
    }

    /// Adds the lines of these keys to a note over `checkpoint` that other keys signed: in a rotation old and new sign.
    #[must_use]
    pub fn cosign(&self, note: String, checkpoint: &Checkpoint, unix_seconds: u64) -> String {
        let (ed25519, ml_dsa_44) = self.lines(checkpoint, unix_seconds);
        note + &ed25519 + &ml_dsa_44
    }

    /// Returns the two signature lines over `checkpoint`.
    ///
    /// # Panics
    /// Never for origins of ours, which fit the length bytes of the message.
    #[must_use]
    pub fn lines(&self, checkpoint: &Checkpoint, unix_seconds: u64) -> (String, String) {
        let signature = self.ed25519.sign(checkpoint.text().as_bytes());
        let ed25519 = self.line(self.verifiers.ed25519.key_id, &signature.to_bytes());
        let message = cosigned_message(&self.name, unix_seconds, checkpoint)
            .expect("invariant: an origin has 1 to 2 * NAME_BYTES_MAX - 1 bytes");
        // Without randomness: replays and simulations are equal byte for byte, and FIPS 204 allows it.
        let signature = self
            .ml_dsa_44
            .expanded_key()
            .sign_deterministic(&message, &[])
            .expect("invariant: rejection sampling ends, and the context is empty");
        let mut bytes = Vec::with_capacity(8 + ML_DSA_44_SIGNATURE_BYTES);
        bytes.extend_from_slice(&unix_seconds.to_be_bytes());
        bytes.extend_from_slice(&signature.encode());
        let id = key_id(&self.name, ML_DSA_44, &self.ml_dsa_public());
        (ed25519, self.line(id, &bytes))
    }

    fn line(&self, key_id: [u8; 4], signature: &[u8]) -> String {
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode([&key_id, signature].concat()))
    }
}

/// The public keys of one log.
#[derive(Clone, Debug, PartialEq)]
pub struct Verifiers {
    /// Its Ed25519 key: the file `vkey`.
    pub ed25519: Verifier,
    /// Its ML-DSA-44 key: the file `mldsa.pub`. Only a foreign log has none.
    pub ml_dsa_44: Option<Verifier>,
}

/// Why a signed checkpoint is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsigned {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It carries no line of a key that must sign.
    #[error("the checkpoint lacks the {0} signature")]
    Missing(&'static str),
    /// A line of one of the keys does not verify.
    #[error("the {0} signature of the checkpoint is wrong")]
    Wrong(&'static str),
    /// It is of another log.
    #[error("the checkpoint is of another origin than its key")]
    Origin,
}

impl Verifiers {
    /// Reads the files `vkey` and `mldsa.pub`; a foreign log may have no `mldsa.pub`.
    ///
    /// # Errors
    /// When one of them is malformed, or `vkey` is not an Ed25519 key.
    pub fn parse(vkey: &[u8], mldsa: Option<&[u8]>) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("verifier key", why);
        let vkey = std::str::from_utf8(vkey).map_err(|_| bad("is not UTF-8"))?;
        let ed25519 = Verifier::parse(vkey.strip_suffix('\n').unwrap_or(vkey))?;
        if ed25519.ty() != ED25519 {
            return Err(bad("is not of type Ed25519"));
        }
        let ml_dsa_44 = mldsa.map(|public| Verifier::ml_dsa_44(ed25519.name(), public)).transpose()?;
        Ok(Self { ed25519, ml_dsa_44 })
    }

    /// Returns the hash under which a rotation names them: `SHA-256("dihya/keys/1" | vkey | 0a | mldsa.pub)`.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let ml_dsa = self.ml_dsa_44.as_ref().map(Verifier::public).unwrap_or_default();
        Sha256::new()
            .chain_update("dihya/keys/1")
            .chain_update(self.ed25519.vkey())
            .chain_update(b"\n")
            .chain_update(ml_dsa)
            .finalize()
            .into()
    }

    /// Returns the keys as lines of a key file, each a verifier key: what an auditor keeps elsewhere than beside the log.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let keys = std::iter::once(&self.ed25519).chain(&self.ml_dsa_44);
        keys.map(|key| format!("{}\n", key.vkey())).collect()
    }

    /// Reads a key file: one verifier key a line, of any number of logs; empty lines and those that start with `#` say
    /// nothing. Returns each log's keys in order of their names.
    ///
    /// # Errors
    /// With the number of the line: when it is no verifier key, a log has two keys of one type there, or one of type
    /// ML-DSA-44 alone (line 0).
    pub fn parse_file(text: &str) -> Result<Vec<Self>, (usize, Malformed)> {
        let bad = |why| Malformed::new("key file", why);
        let (mut ed25519, mut ml_dsa_44) = (BTreeMap::new(), BTreeMap::new());
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Verifier::parse(line).map_err(|malformed| (number, malformed))?;
            let keys = if key.ty() == ED25519 { &mut ed25519 } else { &mut ml_dsa_44 };
            if keys.insert(key.name.clone(), key).is_some() {
                return Err((number, bad("has two keys of one type for one log")));
            }
        }
        let both = |(name, ed25519)| Self { ed25519, ml_dsa_44: ml_dsa_44.remove(&name) };
        let keys = ed25519.into_iter().map(both).collect();
        if ml_dsa_44.is_empty() { Ok(keys) } else { Err((0, bad("lacks the Ed25519 key of a log"))) }
    }

    /// Verifies a signed checkpoint: every key here must have signed it, and its origin must be their name.
    ///
    /// # Errors
    /// When it is malformed, a signature is missing or wrong, or it is of another origin.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, Unsigned> {
        let note = Note::parse(note)?;
        let keys = [(Some(&self.ed25519), "Ed25519"), (self.ml_dsa_44.as_ref(), "ML-DSA-44")];
        for (key, name) in keys.into_iter().filter_map(|(key, name)| Some((key?, name))) {
            match note.verify(key) {
                Some(true) => {}
                Some(false) => return Err(Unsigned::Wrong(name)),
                None => return Err(Unsigned::Missing(name)),
            }
        }
        let checkpoint = Checkpoint::parse(note.text)?;
        if checkpoint.origin == self.ed25519.name { Ok(checkpoint) } else { Err(Unsigned::Origin) }
    }
}

#[cfg(test)]
mod tests {
    use model::{Origin, SeededRng};
    use proptest::prelude::*;

    use super::*;

    /// Of golang.org/x/mod/sumdb/note, whose signature the next constant is.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(seed: u64) -> Signer {
        let seeds = SecretSeeds::generate(&SeededRng::new(seed));
        Signer::new(&Origin::new("localhost/default").expect("is valid"), &seeds)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "localhost/default".into(), size: 3, root: [9; 32] }
    }

    #[test]
    fn a_note_signed_by_another_implementation_verifies() {
        let note = Note::parse(PETERS_NOTE.as_bytes()).expect("parses");
        let peter = Verifier::parse(PETER).expect("parses");
        assert_eq!(note.verify(&peter), Some(true));
        assert_eq!(peter.vkey(), PETER);
        assert_eq!(format!("{peter:?}"), "Verifier(PeterNeumann+c74f20a3, type 0x01)");
        let forged = PETERS_NOTE.replacen("If", "Of", 1);
        assert_eq!(Note::parse(forged.as_bytes()).expect("parses").verify(&peter), Some(false));
        assert_eq!(note.verify(&signer(1).verifiers().ed25519), None);
    }

    #[test]
    fn our_checkpoint_needs_both_signatures_of_our_keys() {
        let signer = signer(1);
        let keys =
            Verifiers::parse(format!("{}\n", signer.vkey()).as_bytes(), Some(&signer.ml_dsa_public())).expect("parse");
        assert_eq!(&keys, signer.verifiers());
        let note = signer.sign(&checkpoint(), 1_700_000_000);
        assert_eq!(keys.open(note.as_bytes()), Ok(checkpoint()));
        assert_eq!(note, signer.sign(&checkpoint(), 1_700_000_000), "signing is deterministic");

        let (ed25519, ml_dsa) = signer.lines(&checkpoint(), 7);
        let text = checkpoint().text();
        let other = self::tests::signer(2);
        let (other_ed25519, other_ml_dsa) = other.lines(&checkpoint(), 7);
        let forged = |line: &str| {
            let (head, tail) = line.split_at(line.len() - 9);
            let (digit, tail) = tail.split_at(1);
            [head, if digit == "A" { "B" } else { "A" }, tail].concat()
        };
        for (lines, wanted) in [
            (vec![&*ed25519, &*ml_dsa], Ok(checkpoint())),
            // A rotation, witnesses: unknown lines are passed over.
            (vec![&*other_ml_dsa, &*ml_dsa, &*other_ed25519, &*ed25519], Ok(checkpoint())),
            (vec![&*ed25519], Err(Unsigned::Missing("ML-DSA-44"))),
            (vec![&*ml_dsa], Err(Unsigned::Missing("Ed25519"))),
            (vec![&*ed25519, &*other_ml_dsa], Err(Unsigned::Missing("ML-DSA-44"))),
            (vec![&*forged(&ed25519), &*ml_dsa], Err(Unsigned::Wrong("Ed25519"))),
            (vec![&*ed25519, &*forged(&ml_dsa)], Err(Unsigned::Wrong("ML-DSA-44"))),
            // One good line does not heal a wrong one of the same key.
            (vec![&*ed25519, &*forged(&ed25519), &*ml_dsa], Err(Unsigned::Wrong("Ed25519"))),
        ] {
            let note = format!("{text}\n{}", lines.concat());
            assert_eq!(keys.open(note.as_bytes()), wanted);
        }
        let sixteen = format!("{text}\n{}{ed25519}{ml_dsa}", other_ed25519.repeat(16));
        assert_eq!(keys.open(sixteen.as_bytes()), Ok(checkpoint()));
    }

    #[test]
    fn a_checkpoint_of_another_origin_is_refused_though_well_signed() {
        let signer = signer(1);
        let other = Checkpoint { origin: "localhost/other".into(), ..checkpoint() };
        assert_eq!(signer.verifiers().open(signer.sign(&other, 0).as_bytes()), Err(Unsigned::Origin));
    }

    #[test]
    fn malformed_ml_dsa_signatures_are_wrong_and_not_a_panic() {
        let signer = signer(1);
        let key = signer.verifiers().ml_dsa_44.as_ref().expect("is there");
        let line = |bytes: &[u8]| signer.line(key.key_id(), bytes);
        let (_, good) = signer.lines(&checkpoint(), 5);
        let good = STANDARD.decode(good.trim_end().rsplit(' ').next().expect("has a signature")).expect("is base64");
        let late = [&(1_u64 << 63).to_be_bytes()[..], &good[12..]].concat();
        for bytes in [&[1][..], &[0; 8], &good[4..100], &[0xff; 8 + ML_DSA_44_SIGNATURE_BYTES], &late] {
            let note = format!("{}\n{}", checkpoint().text(), line(bytes));
            assert_eq!(Note::parse(note.as_bytes()).expect("parses").verify(key), Some(false));
        }
        let no_checkpoint = format!("text\n\n{}", line(&good[4..]));
        assert_eq!(Note::parse(no_checkpoint.as_bytes()).expect("parses").verify(key), Some(false));
        let long = Checkpoint { origin: "o".repeat(256), ..checkpoint() };
        assert_eq!(cosigned_message("n", 0, &long), None);
        assert_eq!(cosigned_message("", 0, &checkpoint()), None);
    }

    #[test]
    fn notes_that_break_a_rule_are_refused() {
        let line = "\u{2014} n AAAAAAA=\n";
        assert!(Note::parse(format!("t\n\n{line}").as_bytes()).is_ok());
        assert!(Note::parse(format!("t\n\nu\n\n{line}").as_bytes()).is_ok_and(|note| note.text == "t\n\nu\n"));
        for (note, why) in [
            (vec![b'a'; NOTE_BYTES_MAX + 1], "is longer than its bound"),
            (b"\xff".to_vec(), "is not UTF-8"),
            (format!("t\r\n\n{line}").into_bytes(), "has control characters"),
            (b"t\n".to_vec(), "has no empty line before its signatures"),
            (format!("t\n\n{}", line.trim_end()).into_bytes(), "does not end with a newline"),
            (b"t\n\n\n".to_vec(), "does not end with a newline"),
            (b"t\n\nx\n".to_vec(), "has a malformed signature line"),
            (b"t\n\n- n AAAAAAA=\n".to_vec(), "has a malformed signature line"),
            ("t\n\n\u{2014} n AAAA\n".as_bytes().to_vec(), "has a malformed signature line"),
            ("t\n\n\u{2014} n AAAAAAA\n".as_bytes().to_vec(), "has a malformed signature line"),
            ("t\n\n\u{2014} a+b AAAAAAA=\n".as_bytes().to_vec(), "has a malformed signature line"),
            ("t\n\n\u{2014}  AAAAAAA=\n".as_bytes().to_vec(), "has a malformed signature line"),
            ("t\n\n\u{2014} a\u{a0}b AAAAAAA=\n".as_bytes().to_vec(), "has a malformed signature line"),
            (format!("t\n\n{}", line.repeat(SIGNATURES_MAX + 1)).into_bytes(), "has too many signatures"),
        ] {
            assert_eq!(Note::parse(&note), Err(Malformed::new(WHAT, why)));
        }
    }

    #[test]
    fn keys_that_break_a_rule_are_refused() {
        let signer = signer(1);
        let public = signer.ml_dsa_public();
        let ml_dsa = signer.verifiers().ml_dsa_44.as_ref().expect("is there").vkey();
        assert_eq!(Verifier::parse(&ml_dsa).expect("parses").ty(), ML_DSA_44);
        for vkey in [
            "name",
            "name+c74f20a3",
            "name+c74f20a3+!",
            "name+c74f20a3+",
            "name+c74f20a3+CQ==",
            &PETER.replace("c74f", "c74e"),
            &PETER.replace("Peter", "Pete r"),
            "n+c74f20a3+AQ==",
            // 32 bytes that are no point on the curve.
            &format!("n+00000000+{}", STANDARD.encode([&[1_u8][..], &[2; 32]].concat())),
            &ml_dsa.replace("localhost", "local host"),
        ] {
            assert!(Verifier::parse(vkey).is_err(), "{vkey}");
        }
        assert!(Verifiers::parse(b"\xff", None).is_err());
        assert!(Verifiers::parse(ml_dsa.as_bytes(), None).is_err());
        assert!(Verifiers::parse(signer.vkey().as_bytes(), Some(&public[1..])).is_err());
    }

    #[test]
    fn secrets_survive_storage_and_are_not_shown() {
        let seeds = SecretSeeds::generate(&SeededRng::new(4));
        let stored = seeds.expose();
        let bytes: &[u8; 64] = stored.expose().as_slice().try_into().expect("are 64");
        assert_eq!(SecretSeeds::from_bytes(bytes), seeds);
        assert_eq!(format!("{seeds:?} {:?}", signer(4)), "SecretSeeds(64 bytes) Signer(localhost/default)");
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), text in "[\u{2014} na+=\\n]{0,60}") {
            let _ = Note::parse(&noise);
            let _ = Verifier::parse(&String::from_utf8_lossy(&noise));
            if let Ok(note) = Note::parse(text.as_bytes()) {
                prop_assert!(note.text.ends_with('\n') && !note.lines.is_empty());
            }
        }
    }

    #[test]
    fn a_key_file_gives_each_log_its_keys() {
        let ours = signer(1).verifiers().clone();
        let text = format!("# from the operator, by hand\n\n{}{PETER}\r\n", ours.to_lines());
        let keys = Verifiers::parse_file(&text).expect("is a key file");
        assert_eq!(keys.len(), 2);
        assert_eq!((keys[0].ed25519.vkey(), &keys[0].ml_dsa_44), (PETER.to_owned(), &None));
        assert_eq!(keys[1], ours);
        assert_eq!(Verifiers::parse_file("").expect("has none"), []);
        let ml_dsa = ours.ml_dsa_44.as_ref().expect("has one").vkey();
        for (text, line) in
            [(format!("{PETER}\nPeterNeumann+00000000+AAAA\n"), 2), (format!("{PETER}\n\n{PETER}\n"), 3), (ml_dsa, 0)]
        {
            assert_eq!(Verifiers::parse_file(&text).expect_err("is none").0, line, "{text}");
        }
    }
}
