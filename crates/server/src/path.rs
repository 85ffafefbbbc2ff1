//! Paths of strangers, parsed strictly: what is not exactly a C2SP tile path never reaches a file system.

use std::num::{NonZeroU8, NonZeroU16};

use model::Origin;
use model::limits::KEY_ROTATIONS_MAX;

/// A file of a log, as C2SP tlog-tiles lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LedgerFile {
    /// `checkpoint`: the signed tree head.
    Checkpoint,
    /// `vkey`: the Ed25519 verifier key.
    Vkey,
    /// `mldsa.pub`: the raw ML-DSA-44 public key.
    MldsaPub,
    /// `vkey.<n>`: the Ed25519 key that a rotation retired.
    RetiredVkey(NonZeroU16),
    /// `mldsa.pub.<n>`: the ML-DSA-44 key that a rotation retired.
    RetiredMldsaPub(NonZeroU16),
    /// `rotation/<n>`: the checkpoint that the old and the new keys signed.
    Rotation(NonZeroU16),
    /// `tile/<L>/<N>[.p/<W>]`: hashes.
    Tile {
        /// The level, 0 to 63.
        level: u8,
        /// The index in the level.
        index: u64,
        /// The width of a partial tile, 1 to 255; `None` for a full one.
        width: Option<NonZeroU8>,
    },
    /// `tile/entries/<N>[.p/<W>]`: entries.
    Entries {
        /// The index.
        index: u64,
        /// The width of a partial bundle, 1 to 255; `None` for a full one.
        width: Option<NonZeroU8>,
    },
}

impl LedgerFile {
    /// Splits `<origin>/<file>`. Exactly one spelling of each file is accepted.
    #[must_use]
    pub fn parse(path: &str) -> Option<(Origin, Self)> {
        let (origin, file) = match path.split_once("/tile/") {
            Some((origin, tile)) => (origin, Self::parse_tile(tile)?),
            None => {
                let (origin, name) = path.rsplit_once('/')?;
                match name {
                    "checkpoint" => (origin, Self::Checkpoint),
                    "vkey" => (origin, Self::Vkey),
                    "mldsa.pub" => (origin, Self::MldsaPub),
                    _ => Self::parse_rotated(origin, name)?,
                }
            }
        };
        Some((Origin::new(origin).ok()?, file))
    }

    /// Reads what a rotation of keys left behind.
    fn parse_rotated<'a>(origin: &'a str, name: &str) -> Option<(&'a str, Self)> {
        if let Some(number) = name.strip_prefix("vkey.") {
            return Some((origin, Self::RetiredVkey(parse_rotation(number)?)));
        }
        if let Some(number) = name.strip_prefix("mldsa.pub.") {
            return Some((origin, Self::RetiredMldsaPub(parse_rotation(number)?)));
        }
        Some((origin.strip_suffix("/rotation")?, Self::Rotation(parse_rotation(name)?)))
    }

    fn parse_tile(tile: &str) -> Option<Self> {
        let (level, rest) = tile.split_once('/')?;
        let (digits, width) = match rest.split_once(".p/") {
            Some((digits, width)) => (digits, Some(parse_width(width)?)),
            None => (rest, None),
        };
        let index = parse_index(digits)?;
        if level == "entries" {
            return Some(Self::Entries { index, width });
        }
        let number: u8 = level.parse().ok().filter(|number| *number < 64)?;
        (number.to_string() == level).then_some(Self::Tile { level: number, index, width })
    }

    /// Returns the path below the log's directory.
    #[must_use]
    pub fn relative(&self) -> String {
        let partial = |width: Option<NonZeroU8>| width.map_or_else(String::new, |width| format!(".p/{width}"));
        match *self {
            Self::Checkpoint => "checkpoint".to_owned(),
            Self::Vkey => "vkey".to_owned(),
            Self::MldsaPub => "mldsa.pub".to_owned(),
            Self::RetiredVkey(number) => format!("vkey.{number}"),
            Self::RetiredMldsaPub(number) => format!("mldsa.pub.{number}"),
            Self::Rotation(number) => format!("rotation/{number}"),
            Self::Tile { level, index, width } => format!("tile/{level}/{}{}", index_path(index), partial(width)),
            Self::Entries { index, width } => format!("tile/entries/{}{}", index_path(index), partial(width)),
        }
    }

    /// Tells whether the file's bytes never change once they are there.
    #[must_use]
    pub const fn is_immutable(&self) -> bool {
        matches!(self, Self::Tile { .. } | Self::Entries { .. })
    }

    /// Returns the media type that C2SP gives the file.
    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::Checkpoint | Self::Vkey | Self::RetiredVkey(_) | Self::Rotation(_) => "text/plain; charset=utf-8",
            Self::MldsaPub | Self::RetiredMldsaPub(_) | Self::Tile { .. } | Self::Entries { .. } => {
                "application/octet-stream"
            }
        }
    }
}

fn parse_rotation(text: &str) -> Option<NonZeroU16> {
    let number: NonZeroU16 = text.parse().ok()?;
    (u64::from(number.get()) <= KEY_ROTATIONS_MAX && number.to_string() == text).then_some(number)
}

fn parse_width(text: &str) -> Option<NonZeroU8> {
    let width: NonZeroU8 = text.parse().ok()?;
    (width.to_string() == text).then_some(width)
}

/// Reads `x001/x234/067` as 1234067: three digits each, all but the last behind an `x`, no superfluous groups.
fn parse_index(text: &str) -> Option<u64> {
    let mut index = 0_u64;
    let mut groups = text.split('/').peekable();
    let mut first = true;
    while let Some(group) = groups.next() {
        let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        // `x000/001` would be a second spelling of `001`.
        if first && groups.peek().is_some() && digits == "000" {
            return None;
        }
        first = false;
        index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_one_spelling() {
        for path in [
            "localhost/default/checkpoint",
            "localhost/default/vkey",
            "localhost/meta/mldsa.pub",
            "localhost/default/vkey.1",
            "localhost/default/mldsa.pub.1000",
            "localhost/default/rotation/12",
            "localhost/default/tile/0/000",
            "localhost/default/tile/63/x001/x234/067",
            "localhost/default/tile/2/001.p/255",
            "localhost/default/tile/entries/x018/446.p/1",
            "a/tile/0/x018/x446/x744/x073/x709/x551/615",
        ] {
            let (origin, file) = LedgerFile::parse(path).expect(path);
            assert_eq!(format!("{origin}/{}", file.relative()), path);
        }
    }

    #[test]
    fn whatever_else_is_refused() {
        for path in [
            "",
            "checkpoint",
            "/checkpoint",
            "a/b/state.sqlite",
            "a/../b/checkpoint",
            "a/./checkpoint",
            "a/%2e%2e/checkpoint",
            "a/checkpoint/",
            "a\\b/checkpoint",
            "A/checkpoint",
            "a/vkey.0",
            "a/vkey.01",
            "a/mldsa.pub.1001",
            "a/rotation/",
            "a/rotation/+1",
            "rotation/1",
            "a/tile/0/0",
            "a/tile/0/0000",
            "a/tile/0/x000/001",
            "a/tile/0/x00a/001",
            "a/tile/0/001/002",
            "a/tile/00/001",
            "a/tile/64/001",
            "a/tile/-1/001",
            "a/tile/data/001",
            "a/tile/0/001.p/0",
            "a/tile/0/001.p/256",
            "a/tile/0/001.p/01",
            "a/tile/0/001.p/+1",
            "a/tile/0/001.p/1/2",
            "a/tile/0/../../../etc/passwd",
            "a/tile/0/x999/x999/x999/x999/x999/x999/999",
            "a/tile/0",
        ] {
            assert_eq!(LedgerFile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn tiles_never_change_and_checkpoints_do() {
        let tile = LedgerFile::Tile { level: 0, index: 0, width: None };
        assert!(tile.is_immutable() && !LedgerFile::Checkpoint.is_immutable());
        assert_eq!(tile.media_type(), "application/octet-stream");
        assert!(LedgerFile::Checkpoint.media_type().starts_with("text/plain"));
    }
}
