//! Tiles and entry bundles (c2sp.org/tlog-tiles): where they lie, what they hold, and how a growing log makes them.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::parse_decimal;
use crate::malformed::{Malformed, Reader};
use crate::merkle::{self, Compact, Hash, Nodes, leaf_hash};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u16 = 256;
/// The bits of the index that one level of tiles covers.
const HEIGHT: u8 = 8;
/// The levels of tiles that a tree of 2^64 leaves can have.
pub const LEVELS_MAX: u8 = 8;
const HASH_BYTES: usize = 32;

/// Names a tile or an entry bundle, as the relative path `tile/L/N[.p/W]` or `tile/entries/N[.p/W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// The level, 0 to 63; `None` is an entry bundle.
    pub level: Option<u8>,
    /// Which one of its level.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256.
    pub width: u16,
}

impl TilePath {
    /// Names a tile of hashes.
    #[must_use]
    pub const fn hashes(level: u8, index: u64, width: u16) -> Self {
        Self { level: Some(level), index, width }
    }

    /// Names an entry bundle.
    #[must_use]
    pub const fn entries(index: u64, width: u16) -> Self {
        Self { level: None, index, width }
    }

    /// Tells whether it is partial, and thus may go once the full one is there.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.width < WIDTH
    }

    /// Returns the full tile in its place.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { width: WIDTH, ..self }
    }

    /// Returns the tiles and bundles that a tree of `size` leaves needs in `level` (`None`: bundles), in order: the
    /// full ones, then the partial one.
    pub fn of_level(size: u64, level: Option<u8>) -> impl Iterator<Item = Self> {
        let nodes = size.checked_shr(u32::from(HEIGHT) * u32::from(level.unwrap_or(0))).unwrap_or(0);
        let full = nodes / u64::from(WIDTH);
        let partial = Some(partial_width(nodes)).filter(|width| *width > 0);
        (0..full).map(move |index| Self { level, index, width: WIDTH }).chain(partial.map(|width| Self {
            level,
            index: full,
            width,
        }))
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "tile/{level}/")?,
            None => f.write_str("tile/entries/")?,
        }
        let mut groups = [0; 7];
        let (mut rest, mut count) = (self.index, 0);
        loop {
            groups[count] = rest % 1_000;
            rest /= 1_000;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        for group in groups[1..count].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if self.is_partial() { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = Malformed;

    /// Reads what `Display` writes, and nothing else: one path per tile.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bad = |why| Malformed::new("tile path", why);
        let rest = text.strip_prefix("tile/").ok_or(bad("does not start with tile/"))?;
        let (level, rest) = rest.split_once('/').ok_or(bad("has no index"))?;
        let level = if level == "entries" {
            None
        } else {
            let level = parse_decimal(level).and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 64);
            Some(level.ok_or(bad("has a level other than 0 to 63"))?)
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, WIDTH),
            Some((index, width)) => {
                let width = parse_decimal(width).and_then(|n| u16::try_from(n).ok()).filter(|n| (1..WIDTH).contains(n));
                (index, width.ok_or(bad("has a width other than 1 to 255"))?)
            }
        };
        let mut value: u64 = 0;
        let mut groups = index.split('/').peekable();
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() { group.strip_prefix('x') } else { Some(group) };
            let digits = digits.filter(|d| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit()));
            let digits =
                digits.and_then(|d| d.parse::<u64>().ok()).ok_or(bad("has an index not in groups of three"))?;
            value =
                value.checked_mul(1_000).and_then(|v| v.checked_add(digits)).ok_or(bad("has an index too large"))?;
        }
        let path = Self { level, index: value, width };
        // Leading groups of zeros would give one tile two paths.
        if path.to_string() == text { Ok(path) } else { Err(bad("is not in its one form")) }
    }
}

/// Returns the width of the partial tile at the end of `nodes` nodes: their number modulo 256.
fn partial_width(nodes: u64) -> u16 {
    u16::from(nodes.to_le_bytes()[0])
}

/// Appends one entry to a bundle: its length as `u16`, then its bytes.
///
/// # Errors
/// When it is longer than 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), Malformed> {
    let len = u16::try_from(entry.len()).map_err(|_| Malformed::new("entry", "is longer than 65535 bytes"))?;
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Yields the entries of a bundle; after a refusal it yields no more.
pub fn read_bundle(bundle: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    let mut reader = Reader::new("entry bundle", bundle);
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended || reader.rest().is_empty() {
            return None;
        }
        let entry = reader.u16().and_then(|len| reader.take(usize::from(len)));
        ended = entry.is_err();
        Some(entry)
    })
}

/// Gives the bytes of tiles.
pub trait ReadTile {
    /// Why a tile could not be had.
    type Error: From<Malformed>;

    /// Returns the bytes of the tile at `path`; a wider tile of the same place will do.
    ///
    /// # Errors
    /// When the storage behind it does not give it.
    fn read_tile(&mut self, path: TilePath) -> Result<Vec<u8>, Self::Error>;
}

/// The nodes of a tree of a certain size, computed from its tiles; the last tile of each level is kept. What it gives
/// is as true as the tiles: a proof made from it must be checked against a signed root.
#[derive(Debug)]
pub struct TileNodes<R> {
    tiles: R,
    size: u64,
    kept: [Option<(u64, Vec<u8>)>; LEVELS_MAX as usize],
}

impl<R: ReadTile> TileNodes<R> {
    /// Reads the tree of `size` leaves from `tiles`.
    pub const fn new(tiles: R, size: u64) -> Self {
        Self { tiles, size, kept: [const { None }; LEVELS_MAX as usize] }
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<&[u8], R::Error> {
        let none = || Malformed::new("tree", "has no such node");
        let kept = self.kept.get_mut(usize::from(level)).ok_or_else(none)?;
        if kept.as_ref().is_none_or(|(at, _)| *at != index) {
            let nodes = self.size >> (u32::from(HEIGHT) * u32::from(level));
            let width = index
                .checked_mul(u64::from(WIDTH))
                .and_then(|start| nodes.checked_sub(start))
                .map(|left| u16::try_from(left).map_or(WIDTH, |left| left.min(WIDTH)))
                .filter(|width| *width > 0)
                .ok_or_else(none)?;
            let mut bytes = self.tiles.read_tile(TilePath::hashes(level, index, width))?;
            let len = usize::from(width) * HASH_BYTES;
            if bytes.len() < len {
                return Err(Malformed::new("tile", "is shorter than its width").into());
            }
            bytes.truncate(len);
            *kept = Some((index, bytes));
        }
        Ok(kept.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}

impl<R: ReadTile> Nodes for TileNodes<R> {
    type Error = R::Error;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, R::Error> {
        let none = || Malformed::new("tree", "has no such node");
        let (tile_level, above) = (level / HEIGHT, level % HEIGHT);
        let first = index.checked_shl(u32::from(above)).filter(|n| n >> above == index).ok_or_else(none)?;
        let bytes = self.tile(tile_level, first / u64::from(WIDTH))?;
        let offset = usize::try_from(first % u64::from(WIDTH)).unwrap_or(usize::MAX);
        let hashes = bytes.as_chunks::<HASH_BYTES>().0;
        let hashes = hashes.get(offset..offset + (1 << above)).ok_or_else(none)?;
        Ok(merkle::root_of(hashes))
    }
}

/// A file of a log: its path and its bytes.
pub type TileFile = (TilePath, Vec<u8>);

/// Makes tiles and bundles from entries in order. Holds the partial tile of each level and the partial bundle, so its
/// memory is bounded by one bundle and eight tiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileWriter {
    tree: Compact,
    bundle: Vec<u8>,
    partial: Vec<Vec<u8>>,
    full: Vec<TileFile>,
}

impl TileWriter {
    /// Starts the log without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on from the tree of `size` leaves, whose partial tiles and bundle `tiles` gives.
    ///
    /// # Errors
    /// When one of them is missing or of another width. The caller checks the root against a signed checkpoint.
    pub fn resume<R: ReadTile>(tiles: &mut R, size: u64) -> Result<Self, R::Error> {
        let mut writer = Self::new();
        let mut peaks = Vec::new();
        for level in 0..LEVELS_MAX {
            let nodes = size >> (u32::from(HEIGHT) * u32::from(level));
            let width = partial_width(nodes);
            let mut bytes = Vec::new();
            if width > 0 {
                bytes = tiles.read_tile(TilePath::hashes(level, nodes / u64::from(WIDTH), width))?;
                if bytes.len() < usize::from(width) * HASH_BYTES {
                    return Err(Malformed::new("tile", "is shorter than its width").into());
                }
                bytes.truncate(usize::from(width) * HASH_BYTES);
            }
            peaks.push(bytes.clone());
            writer.partial.push(bytes);
        }
        while writer.partial.last().is_some_and(Vec::is_empty) {
            writer.partial.pop();
        }
        writer.tree = Compact::from_tiles(size, &peaks)?;
        let width = partial_width(size);
        if width > 0 {
            let bundle = tiles.read_tile(TilePath::entries(size / u64::from(WIDTH), width))?;
            for (position, entry) in read_bundle(&bundle).take(usize::from(width)).enumerate() {
                let entry = entry?;
                let hash = writer.partial.first().and_then(|tile| tile.as_chunks::<HASH_BYTES>().0.get(position));
                if hash != Some(&leaf_hash(entry)) {
                    return Err(Malformed::new("entry bundle", "does not hash to its tile").into());
                }
                push_entry(&mut writer.bundle, entry)?;
            }
            if read_bundle(&bundle).count() < usize::from(width) {
                return Err(Malformed::new("entry bundle", "has fewer entries than its width").into());
            }
        }
        Ok(writer)
    }

    /// Returns how many entries the log has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Returns the root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Appends an entry and returns its leaf hash.
    ///
    /// # Errors
    /// When it is longer than 65,535 bytes; the log is then as it was.
    pub fn push(&mut self, entry: &[u8]) -> Result<Hash, Malformed> {
        push_entry(&mut self.bundle, entry)?;
        let leaf = leaf_hash(entry);
        let index = self.tree.size();
        self.tree.push(leaf);
        if self.tree.size().is_multiple_of(u64::from(WIDTH)) {
            let bundle = std::mem::take(&mut self.bundle);
            self.full.push((TilePath::entries(index / u64::from(WIDTH), WIDTH), bundle));
        }
        let (mut hash, mut node) = (leaf, index);
        for level in 0..LEVELS_MAX {
            if self.partial.len() == usize::from(level) {
                self.partial.push(Vec::with_capacity(usize::from(WIDTH) * HASH_BYTES));
            }
            let tile = &mut self.partial[usize::from(level)];
            tile.extend_from_slice(&hash);
            if tile.len() < usize::from(WIDTH) * HASH_BYTES {
                break;
            }
            hash = merkle::root_of(tile.as_chunks::<HASH_BYTES>().0);
            self.full.push((TilePath::hashes(level, node / u64::from(WIDTH), WIDTH), std::mem::take(tile)));
            node /= u64::from(WIDTH);
        }
        Ok(leaf)
    }

    /// Takes the full tiles and bundles that were completed since the last call.
    pub fn take_full(&mut self) -> Vec<TileFile> {
        std::mem::take(&mut self.full)
    }

    /// Returns the partial tiles and the partial bundle that a checkpoint of the present size needs.
    #[must_use]
    pub fn partials(&self) -> Vec<TileFile> {
        let size = self.tree.size();
        let bundle = (TilePath::entries(size / u64::from(WIDTH), partial_width(size)), self.bundle.clone());
        let tiles = self.partial.iter().zip(0_u8..).map(|(bytes, level)| {
            let nodes = size >> (u32::from(HEIGHT) * u32::from(level));
            (TilePath::hashes(level, nodes / u64::from(WIDTH), partial_width(nodes)), bytes.clone())
        });
        std::iter::once(bundle).chain(tiles).filter(|(path, _)| path.width > 0).collect()
    }
}

impl Compact {
    /// Returns the tree of `size` leaves, given the partial tile of each level (empty where there is none).
    pub(crate) fn from_tiles(size: u64, partial: &[Vec<u8>]) -> Result<Self, Malformed> {
        let mut bytes = size.to_be_bytes().to_vec();
        for tile in partial.iter().rev() {
            let mut hashes = tile.as_chunks::<HASH_BYTES>().0;
            // One peak per bit set in the width, the largest first.
            while !hashes.is_empty() {
                let (peak, rest) = hashes.split_at(1 << hashes.len().ilog2());
                bytes.extend_from_slice(&merkle::root_of(peak));
                hashes = rest;
            }
        }
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{prove_consistency, prove_inclusion, root, root_of, verify_consistency, verify_inclusion};

    impl ReadTile for &BTreeMap<TilePath, Vec<u8>> {
        type Error = Malformed;

        fn read_tile(&mut self, path: TilePath) -> Result<Vec<u8>, Malformed> {
            self.get(&path).cloned().ok_or(Malformed::new("tile", "is missing"))
        }
    }

    fn entry(n: u64) -> Vec<u8> {
        n.to_be_bytes().repeat(usize::try_from(n % 5).expect("is small"))
    }

    /// The files of a log of `size` entries, and its writer.
    fn log(size: u64) -> (BTreeMap<TilePath, Vec<u8>>, TileWriter) {
        let mut writer = TileWriter::new();
        for n in 0..size {
            writer.push(&entry(n)).expect("fits");
        }
        let files = writer.take_full().into_iter().chain(writer.partials()).collect();
        (files, writer)
    }

    #[test]
    fn paths_have_one_form() {
        for (path, text) in [
            (TilePath::hashes(0, 0, 256), "tile/0/000"),
            (TilePath::hashes(63, 1_234_067, 256), "tile/63/x001/x234/067"),
            (TilePath::entries(999, 1), "tile/entries/999.p/1"),
            (TilePath::entries(1_000, 255), "tile/entries/x001/000.p/255"),
            (TilePath::hashes(1, u64::MAX, 256), "tile/1/x018/x446/x744/x073/x709/x551/615"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/a/000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "tile/0/000/",
            "/tile/0/000",
            "tile/0/+00",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/data/000",
            "tile/entries/../000",
        ] {
            assert!(bad.parse::<TilePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tree_needs_the_tiles_that_the_specification_says() {
        let names = |size, level| TilePath::of_level(size, level).map(|path| path.to_string()).collect::<Vec<_>>();
        assert_eq!(names(70_000, Some(0)).len(), 274);
        assert_eq!(names(70_000, Some(0)).last().map(String::as_str), Some("tile/0/273.p/112"));
        assert_eq!(names(70_000, Some(1)), ["tile/1/000", "tile/1/001.p/17"]);
        assert_eq!(names(70_000, Some(2)), ["tile/2/000.p/1"]);
        assert_eq!(names(70_000, Some(3)), [""; 0]);
        assert_eq!(names(256, Some(1)), ["tile/1/000.p/1"]);
        assert_eq!(names(256, None), ["tile/entries/000"]);
        assert_eq!(names(0, None), [""; 0]);
        assert_eq!(names(u64::MAX, Some(9)), [""; 0]);
    }

    #[test]
    fn a_writer_makes_exactly_the_tiles_of_its_size_and_resumes_from_them() {
        for size in [0, 1, 2, 255, 256, 257, 511, 512, 600, 65_535, 65_536, 65_537, 66_000] {
            let (files, writer) = log(size);
            let mut wanted: Vec<_> = (0..LEVELS_MAX).flat_map(|level| TilePath::of_level(size, Some(level))).collect();
            wanted.extend(TilePath::of_level(size, None));
            wanted.sort();
            assert_eq!(files.keys().copied().collect::<Vec<_>>(), wanted, "{size}");
            let mut source = &files;
            let mut resumed = TileWriter::resume(&mut source, size).expect("resumes");
            assert_eq!((resumed.size(), resumed.root()), (size, writer.root()), "{size}");
            let mut writer = writer;
            for n in size..size + 300 {
                assert_eq!(resumed.push(&entry(n)), writer.push(&entry(n)));
            }
            assert_eq!((resumed.root(), resumed.partials()), (writer.root(), writer.partials()));
            assert_eq!(resumed.take_full(), writer.take_full());
        }
    }

    #[test]
    fn a_writer_does_not_resume_from_what_does_not_fit_together() {
        let (files, _) = log(600);
        let broken = |path: TilePath, change: &dyn Fn(&mut Vec<u8>)| {
            let mut files = files.clone();
            change(files.get_mut(&path).expect("is there"));
            TileWriter::resume(&mut &files, 600).expect_err("is broken").why
        };
        let (tile, bundle) = (TilePath::hashes(0, 2, 88), TilePath::entries(2, 88));
        assert_eq!(broken(tile, &|bytes| bytes.truncate(87 * 32)), "is shorter than its width");
        assert_eq!(broken(tile, &|bytes| bytes[0] ^= 1), "does not hash to its tile");
        assert_eq!(broken(bundle, &|bytes| bytes.truncate(3)), "ends too early");
        assert_eq!(broken(bundle, &Vec::clear), "has fewer entries than its width");
        assert_eq!(TileWriter::resume(&mut &files, 601).expect_err("is missing").why, "is missing");
    }

    #[test]
    fn an_entry_too_long_is_refused_and_changes_nothing() {
        let (_, mut writer) = log(3);
        let before = writer.clone();
        assert!(writer.push(&vec![0; 65_536]).is_err());
        assert_eq!(writer, before);
    }

    #[test]
    fn a_bundle_is_read_to_its_first_fault() {
        let mut bundle = Vec::new();
        push_entry(&mut bundle, b"ab").expect("fits");
        push_entry(&mut bundle, b"").expect("fits");
        assert_eq!(
            read_bundle(&bundle).map(|e| e.map(<[u8]>::to_vec)).collect::<Result<Vec<_>, _>>(),
            Ok(vec![b"ab".to_vec(), vec![]])
        );
        bundle.extend_from_slice(&[0, 9, 1]);
        let read: Vec<_> = read_bundle(&bundle).collect();
        assert_eq!((read.len(), read[2].is_err()), (3, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn proofs_from_tiles_are_those_from_leaves(size in 1_u64..1_200, a in any::<u64>(), b in any::<u64>()) {
            let (files, writer) = log(size);
            let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&entry(n))).collect();
            let (index, old) = (a % size, 1 + b % size);
            prop_assert_eq!(root_of(&leaves), writer.root());
            let mut nodes = TileNodes::new(&files, size);
            prop_assert_eq!(root(&mut nodes, size), Ok(writer.root()));
            let proof = prove_inclusion(&mut nodes, index, size).expect("proves");
            prop_assert_eq!(&proof, &prove_inclusion(&mut leaves.as_slice(), index, size).expect("proves"));
            let leaf = &leaves[usize::try_from(index).expect("fits")];
            prop_assert_eq!(verify_inclusion(leaf, index, size, &proof, &writer.root()), Ok(()));
            let proof = prove_consistency(&mut nodes, old, size).expect("proves");
            let old_root = root(&mut nodes, old).expect("computes");
            prop_assert_eq!(old_root, root_of(&leaves[..usize::try_from(old).expect("fits")]));
            prop_assert_eq!(verify_consistency(old, size, &old_root, &writer.root(), &proof), Ok(()));
        }
    }

    #[test]
    fn nodes_outside_the_tree_are_refused() {
        let (mut files, _) = log(600);
        let mut nodes = TileNodes::new(&files, 600);
        assert!(nodes.node(9, 0).is_ok());
        for (level, index) in
            [(0, 600), (9, 1), (10, 0), (8, 2), (63, 0), (64, 0), (70, 1), (1, u64::MAX), (3, 1 << 62)]
        {
            assert!(nodes.node(level, index).is_err(), "{level} {index}");
        }
        files.get_mut(&TilePath::hashes(0, 2, 88)).expect("is there").truncate(64);
        assert!(TileNodes::new(&files, 600).node(0, 599).is_err());
        let leaves = [[0; 32]; 3];
        let mut leaves = leaves.as_slice();
        assert!(leaves.node(0, 2).is_ok() && leaves.node(1, 1).is_err() && leaves.node(64, 1).is_err());
    }
}
