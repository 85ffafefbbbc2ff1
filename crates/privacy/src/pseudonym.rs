//! Pseudonyms: the name under which a person's value is stored, the same for weeks and nobody's once the key is gone.
//!
//! `P = HMAC-SHA256(HKDF-SHA256(k_owner, "dihya/pseud/1"), type | value)[:16]`, value in its one spelling. Never
//! under a key of the tenant alone: all IPv4 addresses could be tried in an hour.

use crate::keystore::{Owner, finish, normal};

/// Starts each pseudonym's text.
const LETTER: char = 'P';
/// RFC 4648, in small letters.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The type of the handle, which no identifier has.
const HANDLE: &str = "dihya/owner";

/// Returns the pseudonym of a value of a type under its owner's key.
#[must_use]
pub fn pseudonym(owner: &Owner, kind: &str, value: &str) -> [u8; 16] {
    let normal = zeroize::Zeroizing::new(normal(kind, value));
    of(owner, crate::keystore::family(kind), &normal)
}

/// Returns the pseudonym under which boxes name an owner: what is stored beside them instead of the kid.
#[must_use]
pub fn handle(owner: &Owner) -> [u8; 16] {
    of(owner, HANDLE, "")
}

fn of(owner: &Owner, kind: &str, value: &str) -> [u8; 16] {
    let mac = finish(owner.pseudonyms().clone(), &[kind.as_bytes(), value.as_bytes()]);
    let mut short = [0; 16];
    short.copy_from_slice(&mac[..16]);
    short
}

/// Writes a pseudonym as it is stored: `P`, then 26 letters and digits of base32 in small letters.
#[must_use]
pub fn pseudonym_text(pseudonym: &[u8; 16]) -> String {
    let mut text = String::with_capacity(27);
    text.push(LETTER);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in pseudonym {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(letter(bits >> held));
        }
    }
    // 128 bits are 25 letters and 3 bits.
    text.push(letter(bits << (5 - held)));
    text
}

/// Finds the first pseudonym in a text, as it is stored: what stands before it, itself, and what stands behind.
#[must_use]
pub fn find_pseudonym(text: &str) -> Option<(&str, &str, &str)> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric();
    text.match_indices(LETTER).find_map(|(at, _)| {
        let (before, rest) = text.split_at_checked(at)?;
        let (name, after) = rest.split_at_checked(27)?;
        let alone = !before.as_bytes().last().is_some_and(is_part) && !after.as_bytes().first().is_some_and(is_part);
        let letters = name.bytes().skip(1).all(|byte| BASE32.contains(&byte));
        (alone && letters).then_some((before, name, after))
    })
}

fn letter(bits: u32) -> char {
    char::from(BASE32[usize::try_from(bits & 31).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use model::Private;

    use super::*;
    use crate::keystore::Kid;

    fn owner(key: u8) -> Owner {
        Owner::new(Kid([key; 16]), &Private::new([key; 32]))
    }

    #[test]
    fn a_pseudonym_is_of_owner_type_and_value() {
        let p = |key, kind, value| pseudonym(&owner(key), kind, value);
        let mine = p(1, "email", "ana@example.org");
        assert_eq!(mine, p(1, "email", "ANA@example.org"));
        for other in
            [p(2, "email", "ana@example.org"), p(1, "username", "ana@example.org"), p(1, "email", "bob@example.org")]
        {
            assert_ne!(mine, other);
        }
        assert_eq!(p(1, "ins", "255081416802538"), p(1, "nir", "2 55 08 14 168 025 38"));
        assert_ne!(handle(&owner(1)), handle(&owner(2)));
    }

    #[test]
    fn pseudonyms_are_found_in_texts() {
        let name = pseudonym_text(&[7; 16]);
        let text = format!("Pé [email:{name}] P");
        assert_eq!(find_pseudonym(&text), Some(("Pé [email:", name.as_str(), "] P")));
        for none in ["", "P", "Paaaaaaaaaaaaaaaaaaaaaaaaa1", &format!("x{name}"), &format!("{name}7")] {
            assert_eq!(find_pseudonym(none), None, "{none}");
        }
    }

    #[test]
    fn texts_have_one_form() {
        assert_eq!(pseudonym_text(&[0; 16]), "Paaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(pseudonym_text(&[255; 16]), "P77777777777777777777777774");
        // RFC 4648: "foobar" is MZXW6YTBOI.
        let mut bytes = *b"foobar\0\0\0\0\0\0\0\0\0\0";
        assert!(pseudonym_text(&bytes).starts_with("Pmzxw6ytboi"));
        bytes[15] = 1;
        assert!(pseudonym_text(&bytes).ends_with('e'));
    }
}
