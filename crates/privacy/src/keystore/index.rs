//! What a keystore has in memory: keys by kid, kids by tag, links. Compact: a million persons in 110 MB.
//!
//! Keys lie on pages of their own that never move (a growing vector would leave copies behind) and are kept out of swap
//! files, rows beside them, and tables of 32-bit places lead to both. Tags and kids are random to whoever does not know the
//! lookup key, so their first bytes are their hash.

use std::collections::{BTreeMap, BTreeSet};

use super::locked::{self, Page};
use super::{Class, Kid, Tag};

/// Rows of one chunk.
const CHUNK: usize = 4_096;
/// An empty place of a table.
const EMPTY: u32 = u32::MAX;

/// One key.
#[derive(Clone, Copy)]
pub(crate) struct KeyRow<'a> {
    pub(crate) key: &'a [u8; 32],
    pub(crate) kid: Kid,
    /// Days since 1970.
    pub(crate) minted: u32,
    /// The last day for which it is known to have been used, in days since 1970.
    pub(crate) used: u32,
    pub(crate) class: Class,
}

/// What is known of a key beside itself.
struct Beside {
    kid: Kid,
    minted: u32,
    used: u32,
    class: Class,
}

/// One tag and the place of its key.
#[derive(Clone, Copy)]
pub(crate) struct TagRow {
    pub(crate) tag: Tag,
    pub(crate) owner: u32,
}

/// Rows that never move.
struct Arena<T>(Vec<Vec<T>>);

impl<T> Arena<T> {
    fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * CHUNK + last.len())
    }

    fn push(&mut self, row: T) -> u32 {
        let place = u32::try_from(self.len()).expect("invariant: limits keep places within 32 bits");
        match self.0.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(row),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(row);
                self.0.push(chunk);
            }
        }
        place
    }

    fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let place = usize::try_from(place).ok()?;
        self.0.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }

    fn get(&self, place: u32) -> Option<&T> {
        let place = usize::try_from(place).ok()?;
        self.0.get(place / CHUNK)?.get(place % CHUNK)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}

/// Leads from a hash to places: open addressing, at most two thirds full.
struct Table {
    places: Vec<u32>,
    len: usize,
}

impl Table {
    const fn new() -> Self {
        Self { places: Vec::new(), len: 0 }
    }

    /// Yields the places that a hash may lead to.
    fn probe(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let mask = self.places.len().wrapping_sub(1);
        let start = usize::try_from(hash & mask as u64).unwrap_or(0);
        (0..self.places.len())
            .map_while(move |step| self.places.get((start + step) & mask).copied().filter(|place| *place != EMPTY))
    }

    fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.len + 1) * 3 > self.places.len() * 2 {
            let wider = vec![EMPTY; (self.places.len() * 2).max(64)];
            for old in std::mem::replace(&mut self.places, wider).into_iter().filter(|place| *place != EMPTY) {
                self.set(hash_of(old), old);
            }
        }
        self.set(hash, place);
        self.len += 1;
    }

    fn set(&mut self, hash: u64, place: u32) {
        let mask = self.places.len() - 1;
        let mut at = usize::try_from(hash & mask as u64).unwrap_or(0);
        while self.places[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.places[at] = place;
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// All of a keystore.
pub(crate) struct Index {
    keys: Arena<Beside>,
    pages: Vec<Page>,
    by_kid: Table,
    tags: Arena<TagRow>,
    by_tag: Table,
    /// Kids that turned out to be one person's, each pair in both directions.
    links: BTreeSet<(u32, u32)>,
}

impl Index {
    pub(crate) const fn new() -> Self {
        Self {
            keys: Arena(Vec::new()),
            pages: Vec::new(),
            by_kid: Table::new(),
            tags: Arena(Vec::new()),
            by_tag: Table::new(),
            links: BTreeSet::new(),
        }
    }

    /// Adds a key and returns its place; `None` when the kid is there already.
    pub(crate) fn add_key(&mut self, kid: Kid, class: Class, minted: u32, key: &[u8; 32]) -> Option<u32> {
        if self.place_of(kid).is_some() {
            return None;
        }
        let at = self.keys.len();
        if at / locked::KEYS == self.pages.len() {
            self.pages.push(Page::new());
        }
        if let Some(page) = self.pages.get_mut(at / locked::KEYS) {
            page.set(at % locked::KEYS, key);
        }
        let place = self.keys.push(Beside { kid, minted, used: minted, class });
        let keys = &self.keys;
        self.by_kid.insert(hash(&kid.0), place, |at| keys.get(at).map_or(0, |row| hash(&row.kid.0)));
        Some(place)
    }

    /// Says that the key at `place` was used on a day.
    pub(crate) fn use_key(&mut self, place: u32, day: u32) {
        if let Some(beside) = self.keys.get_mut(place) {
            beside.used = beside.used.max(day);
        }
    }

    /// Adds a tag that leads to the key at `owner`.
    pub(crate) fn add_tag(&mut self, tag: Tag, owner: u32) {
        let place = self.tags.push(TagRow { tag, owner });
        let tags = &self.tags;
        self.by_tag.insert(hash(&tag.0), place, |at| tags.get(at).map_or(0, |row| hash(&row.tag.0)));
    }

    /// Says that two keys are one person's. Returns whether that is new.
    pub(crate) fn link(&mut self, a: u32, b: u32) -> bool {
        a != b && self.links.insert((a, b)) && self.links.insert((b, a))
    }

    pub(crate) fn is_linked(&self, a: u32, b: u32) -> bool {
        a == b || self.links.contains(&(a, b))
    }

    /// Returns the places of all keys that links lead to from `from`, itself among them, ascending.
    pub(crate) fn linked(&self, from: u32) -> BTreeSet<u32> {
        let (mut found, mut queue) = (BTreeSet::from([from]), vec![from]);
        while let Some(place) = queue.pop() {
            for (_, other) in self.links.range((place, 0)..=(place, u32::MAX)) {
                if found.insert(*other) {
                    queue.push(*other);
                }
            }
        }
        found
    }

    pub(crate) fn place_of(&self, kid: Kid) -> Option<u32> {
        self.by_kid.probe(hash(&kid.0)).find(|place| self.keys.get(*place).is_some_and(|row| row.kid == kid))
    }

    /// Returns the place of the key of a class that a tag leads to.
    pub(crate) fn find(&self, tag: &Tag, class: Class) -> Option<u32> {
        self.by_tag.probe(hash(&tag.0)).find_map(|place| {
            let row = self.tags.get(place).filter(|row| row.tag == *tag)?;
            self.keys.get(row.owner).is_some_and(|key| key.class == class).then_some(row.owner)
        })
    }

    /// Returns the places of the keys of all classes that a tag leads to.
    pub(crate) fn find_all(&self, tag: Tag) -> impl Iterator<Item = u32> {
        let rows = self.by_tag.probe(hash(&tag.0)).filter_map(|place| self.tags.get(place));
        rows.filter(move |row| row.tag == tag).map(|row| row.owner)
    }

    pub(crate) fn key(&self, place: u32) -> Option<KeyRow<'_>> {
        let (beside, at) = (self.keys.get(place)?, usize::try_from(place).ok()?);
        let key = self.pages.get(at / locked::KEYS)?.get(at % locked::KEYS)?;
        Some(KeyRow { key, kid: beside.kid, minted: beside.minted, used: beside.used, class: beside.class })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = KeyRow<'_>> {
        (0..).map_while(|place| self.key(place))
    }

    /// Returns how many pages of keys the system may write to a swap file.
    pub(crate) fn unlocked(&self) -> usize {
        self.pages.iter().filter(|page| !page.is_locked()).count()
    }

    pub(crate) fn tags(&self) -> impl Iterator<Item = &TagRow> {
        self.tags.iter()
    }

    /// Yields each link once.
    pub(crate) fn links(&self) -> impl Iterator<Item = (u32, u32)> {
        self.links.iter().copied().filter(|(a, b)| a < b)
    }

    /// Returns how many keys, tags and links there are.
    pub(crate) fn lens(&self) -> (usize, usize, usize) {
        (self.keys.len(), self.tags.len(), self.links.len() / 2)
    }

    /// Returns what is left without the keys at `gone`, their tags and their links.
    pub(crate) fn without(&self, gone: &BTreeSet<u32>) -> Self {
        let mut kept = Self::new();
        let mut places = BTreeMap::new();
        for (place, row) in (0..).zip(self.keys()).filter(|(place, _)| !gone.contains(place)) {
            if let Some(new) = kept.add_key(row.kid, row.class, row.minted, row.key) {
                kept.use_key(new, row.used);
                if new != place {
                    places.insert(place, new);
                }
            }
        }
        // Before the first that went, places are as they were.
        let moved = |place: u32| places.get(&place).copied().unwrap_or(place);
        for row in self.tags().filter(|row| !gone.contains(&row.owner)) {
            kept.add_tag(row.tag, moved(row.owner));
        }
        for (a, b) in self.links().filter(|(a, b)| !gone.contains(a) && !gone.contains(b)) {
            kept.link(moved(a), moved(b));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use model::SeededRng;

    use super::*;

    #[test]
    fn tables_agree_with_a_plain_map() {
        let rng = SeededRng::new(5);
        let draw = || {
            let mut tag = [0; 32];
            model::Rng::fill(&rng, &mut tag);
            Tag(tag)
        };
        let (mut index, mut plain) = (Index::new(), BTreeMap::new());
        for i in 0..10_000_u32 {
            let mut kid = Kid([0; 16]);
            model::Rng::fill(&rng, &mut kid.0);
            let class = Class(u8::try_from(i % 3).expect("is small"));
            let place = index.add_key(kid, class, i, &[1; 32]).expect("is new");
            assert!(index.add_key(kid, class, i, &[2; 32]).is_none(), "no kid twice");
            let tag = draw();
            index.add_tag(tag, place);
            plain.insert(tag, (kid, class, place));
        }
        for (tag, (kid, class, place)) in &plain {
            assert_eq!((index.find(tag, *class), index.place_of(*kid)), (Some(*place), Some(*place)));
            assert_eq!(index.find(tag, Class(9)), None);
        }
        assert_eq!((index.find(&draw(), Class(0)), index.place_of(Kid([0; 16]))), (None, None));
        assert!(index.link(1, 2) && index.link(3, 2) && !index.link(2, 1) && !index.link(4, 4));
        assert_eq!(index.linked(1), BTreeSet::from([1, 2, 3]));
        assert!(index.is_linked(1, 2) && !index.is_linked(1, 3) && index.is_linked(7, 7));
        assert_eq!(index.lens(), (10_000, 10_000, 2));

        let less = index.without(&BTreeSet::from([0, 2, 9_999]));
        assert_eq!(less.lens(), (9_997, 9_997, 0));
        for (tag, (kid, class, place)) in &plain {
            let found = less.find(tag, *class).and_then(|place| less.key(place)).map(|row| row.kid);
            assert_eq!(found, (![0, 2, 9_999].contains(place)).then_some(*kid));
        }
    }
}
