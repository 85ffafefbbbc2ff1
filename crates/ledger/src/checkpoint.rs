//! The checkpoint: what a log signs about itself (c2sp.org/tlog-checkpoint), three lines and no extension lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::malformed::Malformed;
use crate::merkle::Hash;

const WHAT: &str = "checkpoint";

/// The size and root of a log at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin; ours are [`model::Origin`]s, foreign ones any line of text.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// Returns the text that is signed: three lines, each ended by a newline.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the text that [`Self::text`] gives.
    ///
    /// # Errors
    /// When it is not exactly three non-empty lines: extension lines are audited by nobody, so ours have none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new(WHAT, why);
        let mut lines = text.strip_suffix('\n').ok_or(bad("does not end with a newline"))?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(bad("is not three lines"));
        };
        if origin.is_empty() {
            return Err(bad("has no origin"));
        }
        let size = parse_decimal(size).ok_or(bad("has a size that is not a plain decimal"))?;
        let root = parse_hash(root).ok_or(bad("has a root that is not 32 bytes in base64"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// Reads an ASCII decimal without sign or leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if plain { text.parse().ok() } else { None }
}

/// Reads 32 bytes in canonical base64.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    // 44 digits can stand for 33 bytes, hence the larger buffer.
    let mut bytes = [0; 33];
    let len = if text.len() == 44 { STANDARD.decode_slice(text, &mut bytes).ok()? } else { 0 };
    if len != hash.len() {
        return None;
    }
    hash.copy_from_slice(bytes.get(..32)?);
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_has_one_form() {
        let checkpoint = Checkpoint { origin: "localhost/default".into(), size: 600, root: [0xfb; 32] };
        let text = checkpoint.text();
        assert_eq!(text, "localhost/default\n600\n+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=\n");
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));
        let root = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
        for (text, why) in [
            (format!("o\n600\n{root}"), "does not end with a newline"),
            (format!("o\n600\n{root}\nextension\n"), "is not three lines"),
            ("o\n600\n".into(), "is not three lines"),
            (format!("\n600\n{root}\n"), "has no origin"),
            (format!("o\n0600\n{root}\n"), "has a size that is not a plain decimal"),
            (format!("o\n+600\n{root}\n"), "has a size that is not a plain decimal"),
            (format!("o\n\n{root}\n"), "has a size that is not a plain decimal"),
            (format!("o\n18446744073709551616\n{root}\n"), "has a size that is not a plain decimal"),
            // The last digit of base64 has two bits that must be zero.
            (format!("o\n0\n{}\n", root.replace("s=", "t=")), "has a root that is not 32 bytes in base64"),
            (format!("o\n0\n{}\n", root.replace("s=", "sA")), "has a root that is not 32 bytes in base64"),
            (format!("o\n0\n{}\n", root.replace('=', "")), "has a root that is not 32 bytes in base64"),
        ] {
            assert_eq!(Checkpoint::parse(&text), Err(Malformed::new(WHAT, why)), "{text}");
        }
    }
}
