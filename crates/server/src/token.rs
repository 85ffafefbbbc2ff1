//! What a token looks like, and what its roles may do.
//!
//! `dhy_` + 32 characters of Crockford base 32 (160 random bits) + 7 characters (CRC32C of what stands before, in the
//! same alphabet): scanners find a leaked one by its prefix and tell it from noise by its checksum, and a mistyped one
//! is refused before anything is looked up. A token is never stored, only its SHA-256: 160 random bits cannot be
//! guessed, so a slow hash would protect nothing.

use model::{Private, Rng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// How every token begins.
pub const PREFIX: &str = "dhy_";

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_CHARS: usize = 32;
const CHECK_CHARS: usize = 7;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// May only write: alerts, events, samples.
    Ingest,
    /// May see how things stand.
    Viewer,
    /// May act on incidents, silences and checks.
    Operator,
    /// May search what was recorded.
    Analyst,
    /// May see and decide what is kept of persons.
    PrivacyOfficer,
    /// May see and verify all records.
    Auditor,
    /// May do everything in its tenant, and make tokens.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 7] =
        [Self::Ingest, Self::Viewer, Self::Operator, Self::Analyst, Self::PrivacyOfficer, Self::Auditor, Self::Admin];

    /// Returns the canonical spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Analyst => "analyst",
            Self::PrivacyOfficer => "privacy-officer",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown role, expected ingest, viewer, operator, analyst, privacy-officer, auditor or admin")]
pub struct UnknownRole;

/// Makes a token from 160 random bits.
#[must_use]
pub fn mint(rng: &dyn Rng) -> Private<String> {
    let mut random = [0_u8; 20];
    rng.fill(&mut random);
    let mut token = String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECK_CHARS);
    token.push_str(PREFIX);
    for chunk in random.chunks_exact(5) {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        push_base32(&mut token, bits, 8);
    }
    let check = crc32c::crc32c(token.as_bytes());
    push_base32(&mut token, u64::from(check), CHECK_CHARS);
    Private::new(token)
}

/// Returns the SHA-256 under which a token is stored, if `token` is shaped like one and its checksum holds.
#[must_use]
pub fn hash(token: &str) -> Option<[u8; 32]> {
    let body = token.strip_prefix(PREFIX)?;
    if body.len() != RANDOM_CHARS + CHECK_CHARS || !body.bytes().all(|b| ALPHABET.contains(&b)) {
        return None;
    }
    let (covered, check) = token.split_at(PREFIX.len() + RANDOM_CHARS);
    let mut expected = String::with_capacity(CHECK_CHARS);
    push_base32(&mut expected, u64::from(crc32c::crc32c(covered.as_bytes())), CHECK_CHARS);
    (expected == check).then(|| Sha256::digest(token.as_bytes()).into())
}

fn push_base32(text: &mut String, bits: u64, chars: usize) {
    for at in (0..chars).rev() {
        let index = usize::try_from(bits >> (5 * at) & 31).unwrap_or(0);
        text.push(char::from(ALPHABET[index]));
    }
}

#[cfg(test)]
mod tests {
    use model::SeededRng;

    use super::*;

    #[test]
    fn a_token_is_found_by_scanners_and_checks_itself() {
        let rng = SeededRng::new(1);
        let token = mint(&rng);
        let text = token.expose();
        assert!(text.starts_with("dhy_") && text.len() == 43, "{}", text.len());
        assert_eq!(hash(text), Some(Sha256::digest(text.as_bytes()).into()));
        assert_ne!(mint(&rng).expose(), text);
    }

    #[test]
    fn one_wrong_character_is_refused_without_a_look_up() {
        let token = mint(&SeededRng::new(2));
        let text = token.expose();
        for at in 0..text.len() {
            let wrong: String = text
                .chars()
                .enumerate()
                .map(|(i, c)| {
                    if i != at {
                        c
                    } else if c == '0' {
                        '1'
                    } else {
                        '0'
                    }
                })
                .collect();
            assert_eq!(hash(&wrong), None, "character {at}");
        }
        for bad in ["", "dhy_", "dhy_é", "Bearer", &format!("{text}0"), &text.to_uppercase()] {
            assert_eq!(hash(bad), None);
        }
    }

    #[test]
    fn roles_survive_their_spelling() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).expect("serialises"), role.as_str());
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }
}
