//! The Merkle tree of RFC 6962: hashes, the compact form that appends, proofs and their verification.

use crate::malformed::{Malformed, Reader};
use crate::sha::{sha256, sha256_two};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

const PROOF: &str = "proof";

/// Returns the hash of a leaf: `SHA-256(0x00 | entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256([&[0], entry])
}

/// Returns the hashes of leaves, in order.
pub(crate) fn leaf_hashes<'a>(entries: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Hash> {
    let mut hashes = Vec::with_capacity(entries.len());
    let mut entries = entries;
    while let Some(one) = entries.next() {
        match entries.next() {
            Some(other) => hashes.extend(sha256_two([&[0], one], [&[0], other])),
            None => hashes.push(leaf_hash(one)),
        }
    }
    hashes
}

/// Returns the hash of an inner node: `SHA-256(0x01 | left | right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256([&[1], left, right])
}

/// Returns the root of the tree without leaves: `SHA-256("")`.
#[must_use]
pub fn empty_root() -> Hash {
    sha256([])
}

/// Returns the roots of two trees of two leaves.
fn node_hashes([first, second, third, fourth]: [&Hash; 4]) -> [Hash; 2] {
    sha256_two([&[1], first, second], [&[1], third, fourth])
}

/// Returns the root over `leaves`, which are leaf hashes. O(n) time, O(log n) space.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Compact::new();
    // Eight leaves are a perfect subtree, of whose seven nodes six can be made two at a time.
    let (eights, rest) = leaves.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in eights {
        let ([ab, cd], [ef, gh]) = (node_hashes([a, b, c, d]), node_hashes([e, f, g, h]));
        let [low, high] = node_hashes([&ab, &cd, &ef, &gh]);
        tree.push_perfect(3, node_hash(&low, &high));
    }
    rest.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// A tree that only grows, held as the roots of its perfect subtrees, largest first: one per bit set in its size.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Compact {
    size: u64,
    peaks: Vec<Hash>,
}

impl Compact {
    /// Creates the tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// Returns how many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash. Amortised one node hash.
    ///
    /// # Panics
    /// Never: there is one peak per bit set in the size.
    pub fn push(&mut self, leaf: Hash) {
        self.push_perfect(0, leaf);
    }

    /// Appends `2^level` leaves by the root of their tree, behind a multiple of as many.
    fn push_perfect(&mut self, level: u32, root: Hash) {
        let mut hash = root;
        for _ in 0..(self.size >> level).trailing_ones() {
            let left = self.peaks.pop().expect("invariant: one peak per bit set in the size");
            hash = node_hash(&left, &hash);
        }
        self.peaks.push(hash);
        self.size += 1 << level;
    }

    /// Returns the root. O(log n).
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return empty_root() };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }

    /// Returns the state as bytes: `size u64 | 32 per peak`, for a snapshot.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend(self.peaks.iter().flatten());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When there is not exactly one peak per bit set in the size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("compact tree", bytes);
        let size = reader.u64()?;
        let mut peaks = Vec::with_capacity(64);
        for _ in 0..size.count_ones() {
            peaks.push(*reader.array()?);
        }
        reader.finish()?;
        Ok(Self { size, peaks })
    }
}

/// Gives the roots of perfect subtrees: `node(level, index)` is the root over the leaves
/// `index * 2^level .. (index + 1) * 2^level`.
pub trait Nodes {
    /// Why a node could not be had.
    type Error;

    /// Returns a node that the tree of the size in question has.
    ///
    /// # Errors
    /// When the storage behind it does not give it.
    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The nodes over leaf hashes held in memory: the inner tree of a batch. Each node costs O(leaves under it).
impl Nodes for &[Hash] {
    type Error = Malformed;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Malformed> {
        let range = 1_u64.checked_shl(u32::from(level)).and_then(|width| {
            let start = index.checked_mul(width)?;
            Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(width)?).ok()?)
        });
        let leaves = range.and_then(|range| self.get(range)).ok_or(Malformed::new("tree", "has no such node"))?;
        Ok(root_of(leaves))
    }
}

/// Returns the largest power of two below `n`, for `n` above 1.
const fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// Returns the root over the leaves `start..end`, where `start` is a multiple of the smallest power of two that is not
/// less than `end - start`: O(log n) nodes.
fn range_root<N: Nodes>(nodes: &mut N, start: u64, end: u64) -> Result<Hash, N::Error> {
    let mut peaks = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        peaks.push(nodes.node(u8::try_from(level).expect("invariant: below 64"), at >> level)?);
        at += 1 << level;
    }
    let mut peaks = peaks.into_iter().rev();
    let Some(last) = peaks.next() else { return Ok(empty_root()) };
    Ok(peaks.fold(last, |right, left| node_hash(&left, &right)))
}

/// Returns the root of the first `size` leaves.
///
/// # Errors
/// When a node cannot be had.
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    range_root(nodes, 0, size)
}

/// Proves that leaf `index` is in the tree of `size` leaves: the siblings from the leaf up. `index < size` is the
/// caller's to check; otherwise the proof is empty.
///
/// # Errors
/// When a node cannot be had.
pub fn prove_inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut start, mut end, mut siblings) = (0, size, Vec::new());
    if index >= size {
        return Ok(Vec::new());
    }
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    siblings.into_iter().rev().map(|(start, end)| range_root(nodes, start, end)).collect()
}

/// Proves that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962 section 2.1.2). Empty when
/// `old` is 0 or not less than `new`.
///
/// # Errors
/// When a node cannot be had.
pub fn prove_consistency<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    let mut parts = Vec::new();
    if old == 0 || old >= new {
        return Ok(parts);
    }
    let (mut start, mut end) = (0, new);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            parts.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            parts.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        parts.push(range_root(nodes, start, end)?);
    }
    parts.reverse();
    Ok(parts)
}

/// Returns the root that an inclusion proof leads to.
///
/// # Errors
/// When `index` is not below `size`, or the proof has another length than the tree's shape asks for.
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Result<Hash, Malformed> {
    if index >= size {
        return Err(Malformed::new(PROOF, "is of a leaf beyond the tree"));
    }
    // Up to the level where the paths of this leaf and of the last leaf meet, siblings lie on either side; above it,
    // there is one left sibling per bit set in the index.
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = (index.checked_shr(inner).unwrap_or(0)).count_ones();
    if proof.len() as u64 != u64::from(inner + border) {
        return Err(Malformed::new(PROOF, "has another length than the tree asks for"));
    }
    let (inner, border) = proof.split_at(inner as usize);
    let hash = inner.iter().enumerate().fold(*leaf, |hash, (level, sibling)| {
        if index >> level & 1 == 0 { node_hash(&hash, sibling) } else { node_hash(sibling, &hash) }
    });
    Ok(border.iter().fold(hash, |hash, sibling| node_hash(sibling, &hash)))
}

/// Verifies that leaf `index` is in the tree of `size` leaves under `root`.
///
/// # Errors
/// When it is not shown by the proof.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), Malformed> {
    if root_from_inclusion(leaf, index, size, proof)? == *root {
        Ok(())
    } else {
        Err(Malformed::new(PROOF, "does not lead to the root"))
    }
}

/// Tells whether the leaves `start..end` are a subtree: not empty, and `start` a multiple of the smallest power of two
/// that is not less than their number (draft-ietf-plants-merkle-tree-certs section 4.1).
fn is_subtree(start: u64, end: u64) -> bool {
    let width = end.checked_sub(start).filter(|width| *width > 0).and_then(u64::checked_next_power_of_two);
    width.is_some_and(|width| start.is_multiple_of(width))
}

/// Verifies that leaf `index` is in the subtree over the leaves `start..end` under `root`.
///
/// # Errors
/// When it is not shown by the proof, or `start..end` is not a subtree.
pub fn verify_subtree_inclusion(
    leaf: &Hash,
    index: u64,
    start: u64,
    end: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Malformed> {
    if !is_subtree(start, end) {
        return Err(Malformed::new(PROOF, "is of leaves that are no subtree"));
    }
    let index = index.checked_sub(start).ok_or(Malformed::new(PROOF, "is of a leaf beyond the tree"))?;
    verify_inclusion(leaf, index, end - start, proof, root)
}

/// Verifies that the tree of `old` leaves under `old_root` is a prefix of the tree of `new` leaves under `new_root`.
///
/// # Errors
/// When that is not shown by the proof; also when `old` is 0, which shows nothing.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), Malformed> {
    if old == 0 {
        return Err(Malformed::new(PROOF, "is of an empty tree, which every tree goes on from"));
    }
    verify_subtree_consistency(0, old, new, old_root, new_root, proof)
}

/// Verifies that the subtree over the leaves `start..end` under `subtree_root` is part of the tree of `size` leaves
/// under `root` (draft-ietf-plants-merkle-tree-certs section 4.3). With `start` 0 it is a consistency proof.
///
/// # Errors
/// When that is not shown by the proof, or `start..end` is not a subtree.
pub fn verify_subtree_consistency(
    start: u64,
    end: u64,
    size: u64,
    subtree_root: &Hash,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), Malformed> {
    let bad = |why| Err(Malformed::new(PROOF, why));
    if end > size {
        return bad("is of a tree larger than the other");
    }
    if start == end {
        let shown = proof.is_empty() && *subtree_root == empty_root();
        return if shown { Ok(()) } else { bad("is of an empty subtree with another root or a proof") };
    }
    if !is_subtree(start, end) {
        return bad("is of leaves that are no subtree");
    }
    if start == 0 && end == size {
        return match (proof.is_empty(), subtree_root == root) {
            (false, _) => bad("is not empty though the trees are of one size"),
            (true, false) => bad("is of two roots of one size"),
            (true, true) => Ok(()),
        };
    }
    let (mut first, mut second, mut last) = (start, end - 1, size - 1);
    // The subtree's last leaf and the tree's: skip the levels at which the subtree is complete on its right.
    if second == last {
        // The subtree ends where the tree ends: its root is a node of the tree as it is.
        while first != second {
            first >>= 1;
            second >>= 1;
            last >>= 1;
        }
    } else {
        while first != second && second & 1 == 1 {
            first >>= 1;
            second >>= 1;
            last >>= 1;
        }
    }
    // If the subtree is perfect, its root starts the climb; otherwise the proof gives the node to start from.
    let (mut ours, mut whole, mut rest) = if first == second {
        (*subtree_root, *subtree_root, proof)
    } else {
        let Some((seed, rest)) = proof.split_first() else { return bad("has another length than the tree asks for") };
        (*seed, *seed, rest)
    };
    while let Some((sibling, left)) = rest.split_first() {
        if last == 0 {
            return bad("has another length than the tree asks for");
        }
        rest = left;
        if second & 1 == 1 || second == last {
            if first < second {
                ours = node_hash(sibling, &ours);
            }
            whole = node_hash(sibling, &whole);
            while second & 1 == 0 && second != 0 {
                first >>= 1;
                second >>= 1;
                last >>= 1;
            }
        } else {
            whole = node_hash(&whole, sibling);
        }
        first >>= 1;
        second >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return bad("has another length than the tree asks for");
    }
    if ours != *subtree_root {
        return bad("does not lead to the smaller root");
    }
    if whole == *root { Ok(()) } else { bad("does not lead to the root") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree hash as RFC 6962 section 2.1 defines it, by recursion.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let middle = leaves.len().next_power_of_two() / 2;
                node_hash(&by_definition(&leaves[..middle]), &by_definition(&leaves[middle..]))
            }
        }
    }

    fn leaves(n: u8) -> Vec<Hash> {
        (0..n).map(|n| leaf_hash(&[n])).collect()
    }

    #[test]
    fn the_compact_tree_is_the_tree_of_the_definition_and_survives_its_snapshot() {
        let leaves = leaves(130);
        let mut tree = Compact::new();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), by_definition(&leaves[..size]), "{size}");
            assert_eq!(Compact::from_bytes(&tree.to_bytes()), Ok(tree.clone()));
            tree.push(*leaf);
        }
        let bytes = tree.to_bytes();
        assert!(Compact::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(Compact::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        assert!(Compact::from_bytes(&[0xff; 9]).is_err());
    }

    #[test]
    fn every_proof_of_every_small_tree_verifies_and_only_for_what_it_proves() {
        let all = leaves(34);
        for size in 1..=34_u64 {
            let leaves = &all[..usize::try_from(size).expect("is small")];
            let top = root_of(leaves);
            for index in 0..size {
                let proof = prove_inclusion(&mut &*leaves, index, size).expect("proves");
                let leaf = leaves[usize::try_from(index).expect("is small")];
                assert_eq!(verify_inclusion(&leaf, index, size, &proof, &top), Ok(()));
                for other in (0..size + 2).filter(|other| *other != index) {
                    assert!(
                        verify_inclusion(&leaf, other, size, &proof, &top).is_err(),
                        "{index} as {other} of {size}"
                    );
                }
            }
            for old in 1..=size {
                let proof = prove_consistency(&mut &*leaves, old, size).expect("proves");
                let old_root = root_of(&leaves[..usize::try_from(old).expect("is small")]);
                assert_eq!(verify_consistency(old, size, &old_root, &top, &proof), Ok(()), "{old} {size}");
                assert!(old == size || verify_consistency(old, size, &top, &old_root, &proof).is_err());
                let longer = [&proof[..], &[top]].concat();
                assert!(verify_consistency(old, size, &old_root, &top, &longer).is_err(), "{old} {size}");
            }
        }
    }

    #[test]
    fn a_subtree_that_ends_with_the_tree_is_part_of_it() {
        let leaves = leaves(13);
        let (left, right, top) = (root_of(&leaves[..8]), root_of(&leaves[8..]), root_of(&leaves));
        assert_eq!(verify_subtree_consistency(8, 13, 13, &right, &top, &[left]), Ok(()));
        assert!(verify_subtree_consistency(8, 13, 13, &left, &top, &[left]).is_err());
        assert!(verify_subtree_consistency(8, 13, 13, &right, &top, &[]).is_err());
    }

    #[test]
    fn what_there_is_no_proof_of_has_none() {
        let leaves = leaves(5);
        let mut nodes = leaves.as_slice();
        assert_eq!(prove_inclusion(&mut nodes, 5, 5), Ok(vec![]));
        assert_eq!(prove_consistency(&mut nodes, 0, 5), Ok(vec![]));
        assert_eq!(prove_consistency(&mut nodes, 5, 5), Ok(vec![]));
        assert_eq!(root(&mut nodes, 0), Ok(empty_root()));
        assert!(prove_inclusion(&mut nodes, 0, 9).is_err() && prove_consistency(&mut nodes, 1, 9).is_err());
        assert!(verify_subtree_inclusion(&leaves[0], 0, 3, 5, &[], &leaves[0]).is_err());
        assert!(verify_subtree_inclusion(&leaves[0], 3, 4, 5, &[], &leaves[0]).is_err());
        assert!(verify_subtree_inclusion(&leaves[4], 4, 4, 5, &[], &leaves[4]).is_ok());
    }

    proptest! {
        #[test]
        fn hostile_proofs_are_refused_without_a_panic(
            (index, start, end, size) in any::<(u64, u64, u64, u64)>(),
            proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
            top in any::<[u8; 32]>(),
        ) {
            prop_assert!(verify_inclusion(&top, index, size, &proof, &[0; 32]).is_err());
            prop_assert!(verify_consistency(start, end, &top, &[0; 32], &proof).is_err());
            prop_assert!(verify_subtree_consistency(start, end, size, &top, &[0; 32], &proof).is_err());
            prop_assert!(verify_subtree_inclusion(&top, index, start, end, &proof, &[0; 32]).is_err());
        }
    }
}
