//! The keystore of one tenant: which identifiers are whose, and the keys under which what is theirs is sealed.
//!
//! Destroy a key and everything sealed under it, and every pseudonym made with it, is nobody's. So the keys live here
//! alone, a few bytes a person, apart from what they protect: never in the ledger, its log or its backups. The file is
//! drawn in `docs/format/keystore.md`.
//!
//! A key is handed out only once it is durable (S-1): [`Keystore::mint`] makes what is missing with one sync, however
//! many keys and callers; [`Keystore::find`] answers from memory. [`Keystore::destroy`] is what an erasure calls.

mod crypt;
mod error;
mod file;
mod index;
mod kek;
mod locked;
mod normal;

pub(crate) use crypt::{NONCE_BYTES, Secret, TAG_BYTES, draw, finish, hkdf, hmac, mac, open as open_sealed, seal};
pub use error::Error;
pub use kek::{FileKek, Kek, PassphraseKek};
pub use normal::{family, normal};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use disk::{Disk, DiskFile, Open, write_atomic};
use hmac::Hmac;
use model::{Clock, Private, Rng, Tenant, limits};
use sha2::Sha256;
use zeroize::Zeroizing;

use file::{Found, Header, Record, Sealing};
use index::Index;
use locked::Kept;

/// Names a key for ever, and says nothing else: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(pub [u8; 16]);

impl std::fmt::Debug for Kid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kid(16 bytes)")
    }
}

/// A retention class: a person has a key in each, so that one can expire or be held without the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u8);

/// What an identifier is looked up by: HMAC-SHA256(lookup key, type | 0 | normalised identifier). Only in the keystore.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(crate) [u8; 32]);

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tag(32 bytes)")
    }
}

/// A person in one class, by one or more identifiers that name the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The class.
    pub class: Class,
    /// The tags, in the order of their importance: where they lead to several keys, the first one's counts.
    pub tags: Vec<Tag>,
}

/// A key, handed out: whoever has it can seal and make pseudonyms.
#[derive(Clone)]
pub struct Owner {
    kid: Kid,
    key: Secret,
    pseudonyms: OnceLock<Hmac<Sha256>>,
}

impl Owner {
    /// Takes a key.
    #[must_use]
    pub fn new(kid: Kid, key: &Private<[u8; 32]>) -> Self {
        Self::of(kid, key.expose())
    }

    fn of(kid: Kid, key: &[u8; 32]) -> Self {
        Self { kid, key: Zeroizing::new(*key), pseudonyms: OnceLock::new() }
    }

    /// Returns the key's name.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Returns HMAC keyed with HKDF-SHA256(key, "dihya/pseud/1"); made once.
    pub(crate) fn pseudonyms(&self) -> &Hmac<Sha256> {
        self.pseudonyms.get_or_init(|| hmac(&*hkdf(hmac(&[]), &[&*self.key], &[b"dihya/pseud/1"])))
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Owner(32 bytes)")
    }
}

impl PartialEq for Owner {
    /// By name: kids are unique.
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid
    }
}

/// How much is in a keystore and what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys: one a person and class.
    pub keys: usize,
    /// Lookup tags.
    pub tags: usize,
    /// Links between keys of one person.
    pub links: usize,
    /// Keys minted since the start.
    pub minted: u64,
    /// Mints that failed since the start.
    pub refused: u64,
    /// Syncs of mints since the start.
    pub syncs: u64,
    /// The epoch of the master key.
    pub epoch: u64,
    /// Pages of keys that the system may write to a swap file, because it does not allow more to be locked.
    pub unlocked: usize,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whether it was made anew.
    pub made: bool,
    /// Bytes of a torn tail that were cut: never used.
    pub torn: u64,
}

/// What destroying keys did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// The epoch that ended: its master key is gone.
    pub ended: u64,
    /// Keys that went.
    pub keys: usize,
    /// Tags that went with them.
    pub tags: usize,
}

/// What a keystore works with.
#[derive(Clone)]
pub struct Means {
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Keys, kids and nonces.
    pub rng: Arc<dyn Rng>,
    /// When a key was minted.
    pub clock: Arc<dyn Clock>,
}

/// Names of tenants have no underscore: none of these is ever the directory of a log.
const KEYS: &str = "subject_keys";
const EMK: &str = "emk_";
const MADE: &str = "made_1";
const MADE_TEXT: &[u8] = b"A keystore is here: docs/format/keystore.md\n";

/// Tells whether a file of that name is a keystore's: what a backup of the ledger leaves out.
#[must_use]
pub fn is_keystore_file(name: &str) -> bool {
    name == KEYS || name == MADE || name == kek::FILE || name.starts_with(EMK)
}

/// Where frames are appended; absent for a keystore in memory.
struct Store {
    dir: PathBuf,
    kek: Box<dyn Kek>,
    file: Box<dyn DiskFile>,
    sealing: Sealing,
    epoch: u64,
    end: u64,
    synced: u64,
    ordinal: u64,
}

/// Held by whoever mints or destroys: the mint lock.
struct Writer {
    store: Option<Store>,
    stopped: Arc<OnceLock<Arc<str>>>,
}

/// The keystore of one tenant. Share it in an `Arc`.
pub struct Keystore {
    means: Means,
    tenant: Tenant,
    lookup: Kept,
    index: RwLock<Index>,
    writer: Mutex<Writer>,
    /// Beside the writer, whose lock is held while the disk works.
    stopped: Arc<OnceLock<Arc<str>>>,
    epoch: AtomicU64,
    /// What callers wait to have minted: whoever has the mint lock next does it for all.
    waiting: Mutex<Vec<Want>>,
    /// How long the keys of a class live after their last use, in days; those of others live for ever.
    lives: RwLock<BTreeMap<Class, u32>>,
    /// Most keys, tags and links.
    bounds: (usize, usize, usize),
    minted: AtomicU64,
    refused: AtomicU64,
    syncs: AtomicU64,
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keystore").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keystore {
    /// Makes a keystore that is nowhere but in memory: for cases and explanations.
    #[must_use]
    pub fn in_memory(means: Means, tenant: Tenant) -> Self {
        let lookup = draw(&*means.rng);
        Self::with(means, tenant, &lookup, Index::new(), None)
    }

    fn with(means: Means, tenant: Tenant, lookup: &Secret, index: Index, store: Option<Store>) -> Self {
        let stopped = Arc::default();
        Self {
            means,
            tenant,
            lookup: Kept::new(lookup),
            index: RwLock::new(index),
            epoch: AtomicU64::new(store.as_ref().map_or(0, |store| store.epoch)),
            stopped: Arc::clone(&stopped),
            writer: Mutex::new(Writer { store, stopped }),
            waiting: Mutex::default(),
            lives: RwLock::default(),
            bounds: (limits::SUBJECT_KEYS_MAX, limits::LOOKUP_TAGS_MAX, limits::IDENTITY_LINKS_MAX),
            minted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        }
    }

    /// Tells whether a directory holds a keystore.
    #[must_use]
    pub fn exists(disk: &dyn Disk, dir: &Path) -> bool {
        disk.exists(&dir.join(MADE))
    }

    /// Opens the keystore in a directory of its own, or makes it. `passphrase` derives the key-encryption key; without
    /// one a random key is kept in a file beside. One process at a time: the caller holds the lock of the data directory.
    ///
    /// # Errors
    /// [`Error::Kek`] when the key is another one than the one that wrapped; [`Error::Damaged`] when what was durable is
    /// broken or gone; else when the disk fails.
    pub fn open(
        means: Means,
        dir: &Path,
        tenant: &Tenant,
        passphrase: Option<Private<Vec<u8>>>,
    ) -> Result<(Self, Opened), Error> {
        means.disk.create_dir_all(dir)?;
        let kek: Box<dyn Kek> = match passphrase {
            Some(passphrase) => Box::new(PassphraseKek::new(passphrase)),
            // What an earlier try made and never used may not be durable, so it is not built upon.
            None if !Self::exists(&*means.disk, dir) => Box::new(FileKek::make(&*means.disk, dir, &*means.rng)?),
            None => read_file_kek(&*means.disk, dir)?,
        };
        Self::open_with(means, dir, tenant, kek)
    }

    /// Tells whether a passphrase, or none, opens the keystore that lies in a directory. Nothing is written.
    ///
    /// # Errors
    /// [`Error::Damaged`] when something of it is broken or gone; else when the disk fails.
    pub fn opens_under(
        disk: &dyn Disk,
        dir: &Path,
        tenant: &Tenant,
        passphrase: Option<Private<Vec<u8>>>,
    ) -> Result<bool, Error> {
        let header = read_header(disk, dir)?;
        let kek = match passphrase {
            Some(passphrase) => Ok(Box::new(PassphraseKek::new(passphrase)) as Box<dyn Kek>),
            None => read_file_kek(disk, dir),
        };
        match kek.and_then(|kek| read_emk(disk, dir, tenant, &*kek, header.epoch)) {
            Ok(_) => Ok(true),
            Err(Error::Kek { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the keystore in a directory and writes nothing there: nothing can be minted or destroyed. Another process may
    /// have it open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(
        means: Means,
        dir: &Path,
        tenant: &Tenant,
        passphrase: Option<Private<Vec<u8>>>,
    ) -> Result<Self, Error> {
        let disk = Arc::clone(&means.disk);
        let kek: Box<dyn Kek> = match passphrase {
            Some(passphrase) => Box::new(PassphraseKek::new(passphrase)),
            None => read_file_kek(&*disk, dir)?,
        };
        let found = loop {
            let header = read_header(&*disk, dir)?;
            let found = read_emk(&*disk, dir, tenant, &*kek, header.epoch).and_then(|emk| {
                let file = disk.open(&dir.join(KEYS), Open::Read)?;
                file::read(&*file, &header, &Sealing::new(&emk, tenant, header.epoch, header.file))
            });
            match found {
                // An epoch may have ended meanwhile.
                Err(_) if read_header(&*disk, dir)? != header => {}
                found => break found?,
            }
        };
        let keystore = Self::with(means, tenant.clone(), &found.lookup, found.index, None);
        let _ = keystore.stopped.set("it was opened to be read".into()); // nobody else has it yet
        Ok(keystore)
    }

    /// Opens a keystore under a key-encryption key of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(means: Means, dir: &Path, tenant: &Tenant, kek: Box<dyn Kek>) -> Result<(Self, Opened), Error> {
        means.disk.create_dir_all(dir)?;
        if !Self::exists(&*means.disk, dir) {
            return Self::make(means, dir, tenant, kek);
        }
        let header = read_header(&*means.disk, dir)?;
        let file = means.disk.open(&dir.join(KEYS), Open::Write)?;
        let emk = read_emk(&*means.disk, dir, tenant, &*kek, header.epoch)?;
        let sealing = Sealing::new(&emk, tenant, header.epoch, header.file);
        let Found { index, lookup, end, frames, clean, torn } = file::read(&*file, &header, &sealing)?;
        let written = if clean {
            file.set_len(end)?;
            Written { file, sealing, epoch: header.epoch, end, frames }
        } else {
            // After a failed sync, frames and names may be in the page cache alone, and that file is not to be used again
            // (D-2): whatever is built on is written anew first.
            write_atomic(&*means.disk, &dir.join(MADE), MADE_TEXT)?;
            write_keys(&means, dir, tenant, &Epoch { number: header.epoch, emk }, &index, &lookup)?
        };
        // An epoch that was to end, or one that never began.
        destroy_others(&means, dir, header.epoch, kek.kind())?;
        let store = Store::new(dir, kek, written);
        Ok((Self::with(means, tenant.clone(), &lookup, index, Some(store)), Opened { made: false, torn }))
    }

    /// Makes a keystore; the mark that it is there comes last, and whatever lies there without it was never used.
    fn make(means: Means, dir: &Path, tenant: &Tenant, kek: Box<dyn Kek>) -> Result<(Self, Opened), Error> {
        let (emk, lookup, index) = (draw(&*means.rng), draw(&*means.rng), Index::new());
        write_emk(&means, dir, tenant, &*kek, 1, &emk)?;
        let written = write_keys(&means, dir, tenant, &Epoch { number: 1, emk }, &index, &lookup)?;
        write_atomic(&*means.disk, &dir.join(MADE), MADE_TEXT)?;
        destroy_others(&means, dir, 1, kek.kind())?;
        let store = Store::new(dir, kek, written);
        Ok((Self::with(means, tenant.clone(), &lookup, index, Some(store)), Opened { made: true, torn: 0 }))
    }

    /// Returns the tag of an identifier. `kind` is its type; it is normalised here.
    #[must_use]
    pub fn tag(&self, kind: &str, identifier: &str) -> Tag {
        let normal = Zeroizing::new(normal(kind, identifier));
        Tag(mac(&*self.lookup, &[normal::family(kind).as_bytes(), &[0], normal.as_bytes()]))
    }

    /// Returns the key of a person; `None` where any of the tags is not known yet, or not known to be the same person's:
    /// [`Self::mint`] changes that. Memory only, about a microsecond.
    #[must_use]
    pub fn find(&self, want: &Want) -> Option<Owner> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let place = self.resolve(&index, want)?;
        index.key(place).map(|row| Owner::of(row.kid, row.key))
    }

    /// Returns the keys of all classes that a tag leads to, and those that are linked to them: under any of them something
    /// of the person may have been written. Keys that are to expire are among them.
    #[must_use]
    pub fn find_all(&self, tag: Tag) -> Vec<Owner> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let places: BTreeSet<u32> = index.find_all(tag).flat_map(|place| index.linked(place)).collect();
        places.into_iter().filter_map(|place| index.key(place)).map(|row| Owner::of(row.kid, row.key)).collect()
    }

    /// Says how long the keys of a class live after their last use, in days. Keys of other classes live for ever.
    pub fn set_lives(&self, lives: BTreeMap<Class, u32>) {
        *self.lives.write().unwrap_or_else(PoisonError::into_inner) = lives;
    }

    /// Returns the day, in days since 1970.
    fn today(&self) -> u32 {
        u32::try_from(self.means.clock.now().as_second() / 86_400).unwrap_or(0)
    }

    /// Returns how many hours have passed since 1970: which bucket is that of now.
    pub(crate) fn hour(&self) -> u64 {
        u64::try_from(self.means.clock.now().as_second() / 3_600).unwrap_or(0)
    }

    /// Returns the tag of the texts that came by a stream within an hour. Its type is no word, so no identifier has it.
    pub(crate) fn bucket(&self, stream: &str, hour: u64) -> Tag {
        Tag(mac(&*self.lookup, &[b"dihya/bucket", &[0], stream.as_bytes(), &[0], &hour.to_le_bytes()]))
    }

    /// Tells whether the file has to say again that a key is used, before it is: only then is known when it may die.
    fn is_stale(&self, index: &Index, place: u32) -> bool {
        let Some(row) = index.key(place) else { return false };
        let lives = self.lives.read().unwrap_or_else(PoisonError::into_inner);
        lives.contains_key(&row.class) && self.today() > row.used.saturating_add(limits::KEY_USE_DAYS)
    }

    /// Returns the place of the key that all of the tags lead to, by links too, if it may be used today.
    fn resolve(&self, index: &Index, want: &Want) -> Option<u32> {
        resolve(index, want).filter(|place| !self.is_stale(index, *place))
    }

    /// Returns the key with that name.
    #[must_use]
    pub fn key(&self, kid: Kid) -> Option<Owner> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.place_of(kid).and_then(|place| index.key(place)).map(|row| Owner::of(row.kid, row.key))
    }

    /// Returns the key whose handle stands in a box ([`crate::handle`]). Tries every key, about a second for a million:
    /// opening a box is a rare, logged act, and nothing is kept that leads from rows to kids.
    #[must_use]
    pub fn owner_of(&self, handle: &[u8; 16]) -> Option<Owner> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.keys().map(|row| Owner::of(row.kid, row.key)).find(|owner| crate::pseudonym::handle(owner) == *handle)
    }

    /// Returns the kids of all keys by their handles.
    pub(crate) fn handles(&self) -> HashMap<[u8; 16], Kid> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.keys().map(|row| (crate::pseudonym::handle(&Owner::of(row.kid, row.key)), row.kid)).collect()
    }

    /// Returns all keys of the person whose key `kid` is, itself among them: what an erasure destroys.
    #[must_use]
    pub fn linked(&self, kid: Kid) -> Vec<Kid> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = index.place_of(kid) else { return Vec::new() };
        index.linked(place).into_iter().filter_map(|place| index.key(place)).map(|row| row.kid).collect()
    }

    /// Returns how much there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let ((keys, tags, links), unlocked) = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            (index.lens(), index.unlocked())
        };
        Stats {
            keys,
            tags,
            links,
            minted: self.minted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            epoch: self.epoch.load(Ordering::Relaxed),
            unlocked: unlocked + usize::from(!self.lookup.is_locked()),
        }
    }

    /// Returns why nothing is minted any more, if that is so.
    #[must_use]
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.stopped.get().cloned()
    }

    /// Makes all of `wants` findable, durably: new persons get keys, new identifiers of known ones lead to theirs, and
    /// keys that turn out to be one person's are linked, both of them staying. One sync for all that wait, none where
    /// nothing is new. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Full`] at a bound of `model::limits`; else when the disk fails. Nothing is minted then.
    pub fn mint(&self, wants: &[Want]) -> Result<(), Error> {
        if self.all_known(wants) {
            return Ok(());
        }
        lock(&self.waiting).extend_from_slice(wants);
        let mut writer = lock(&self.writer);
        // Whoever had the lock before may have done it for us.
        let result = if self.all_known(wants) {
            Ok(())
        } else {
            let mut all = wants.to_vec();
            all.append(&mut lock(&self.waiting));
            // What others want must not keep us from what we want: at a bound, once more without them.
            self.mint_now(&mut writer, &all).or_else(|error| match error {
                Error::Full { .. } => self.mint_now(&mut writer, wants),
                error => Err(error),
            })
        };
        if result.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn all_known(&self, wants: &[Want]) -> bool {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        wants.iter().all(|want| self.resolve(&index, want).is_some())
    }

    fn mint_now(&self, writer: &mut Writer, wants: &[Want]) -> Result<(), Error> {
        if let Some(reason) = writer.stopped.get() {
            return Err(Error::Stopped { reason: Arc::clone(reason) });
        }
        let plan = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            self.plan(&index, wants)?
        };
        if let Some(store) = &mut writer.store {
            let appended = store.append(&plan.records(), &*self.means.rng);
            self.syncs.fetch_add(1, Ordering::Relaxed);
            if let Err(failure) = appended {
                return Err(writer.fail(failure));
            }
        }
        // Durable: only now can anybody find them (S-1).
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (kid, key) in &plan.keys {
            let added = index.add_key(*kid, key.class, key.minted, &key.key);
            added.expect("invariant: a kid was drawn until it was new, and the mint lock is held");
        }
        let place =
            |index: &Index, kid| index.place_of(kid).expect("invariant: the plan speaks of keys that are there");
        for (tag, kid) in plan.tags {
            let owner = place(&index, kid);
            index.add_tag(tag, owner);
        }
        for (a, b) in plan.links {
            let (a, b) = (place(&index, a), place(&index, b));
            index.link(a, b);
        }
        for (kid, day) in plan.used {
            let place = place(&index, kid);
            index.use_key(place, day);
        }
        self.minted.fetch_add(plan.keys.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Works out what has to be added so that all of `wants` are found.
    fn plan(&self, index: &Index, wants: &[Want]) -> Result<Plan, Error> {
        let minted = self.today();
        let (mut plan, mut new) = (Plan::default(), BTreeMap::new());
        for want in wants {
            let known = |new: &BTreeMap<(Class, Tag), Kid>, tag: &Tag| {
                let planned = new.get(&(want.class, *tag)).copied();
                planned.or_else(|| index.find(tag, want.class).and_then(|place| index.key(place)).map(|row| row.kid))
            };
            let Some(first) = want.tags.iter().find_map(|tag| known(&new, tag)).or_else(|| {
                (!want.tags.is_empty()).then(|| {
                    let kid = self.draw_kid(index, &plan);
                    plan.keys.insert(kid, NewKey { class: want.class, minted, key: draw(&*self.means.rng) });
                    kid
                })
            }) else {
                continue;
            };
            if index.place_of(first).is_some_and(|place| self.is_stale(index, place)) {
                plan.used.insert(first, minted);
            }
            for tag in &want.tags {
                match known(&new, tag) {
                    Some(kid) if kid != first => {
                        let linked = match (index.place_of(kid), index.place_of(first)) {
                            (Some(a), Some(b)) => index.is_linked(a, b),
                            _ => false,
                        };
                        if !linked {
                            plan.links.insert((kid.min(first), kid.max(first)));
                        }
                    }
                    Some(_) => {}
                    None => {
                        new.insert((want.class, *tag), first);
                        plan.tags.push((*tag, first));
                    }
                }
            }
        }
        let (keys, tags, links) = index.lens();
        let (keys_max, tags_max, links_max) = self.bounds;
        let full = |what| Err(Error::Full { what });
        match () {
            () if keys + plan.keys.len() > keys_max => full("keys"),
            () if tags + plan.tags.len() > tags_max => full("tags"),
            () if links + plan.links.len() > links_max => full("links"),
            () => Ok(plan),
        }
    }

    /// Draws a kid that is nobody's: a collision is as likely as a guessed key, and is looked for all the same.
    fn draw_kid(&self, index: &Index, plan: &Plan) -> Kid {
        loop {
            let mut kid = Kid([0; 16]);
            self.means.rng.fill(&mut kid.0);
            if index.place_of(kid).is_none() && !plan.keys.contains_key(&kid) {
                return kid;
            }
        }
    }

    /// Destroys keys with their tags and links, for ever: the rest is written anew under the next epoch's master key,
    /// synced, and then the old master key is destroyed. Holds the mint lock. What is unknown is passed over. If it is
    /// interrupted, the next start finds either all of the keys, and it has to be asked again, or none.
    ///
    /// The class of this is *file*: whoever copied the wrapped old master key before, and has the key-encryption key,
    /// opens old copies of the keys.
    ///
    /// # Errors
    /// When the disk fails. Where the old master key could not be destroyed, the next start does it.
    pub fn destroy(&self, kids: &[Kid]) -> Result<Destroyed, Error> {
        let mut writer = lock(&self.writer);
        self.destroy_now(&mut writer, |index| kids.iter().filter_map(|kid| index.place_of(*kid)).collect())
    }

    /// Destroys the keys of the classes that have an end ([`Self::set_lives`]) for which it has come, with their tags and
    /// links, as [`Self::destroy`] does: those that nothing was written under for as long. `None`, and nothing is written,
    /// where there are none.
    ///
    /// # Errors
    /// As [`Self::destroy`].
    pub fn expire(&self) -> Result<Option<Destroyed>, Error> {
        // Under the lock: whoever uses a key again first says so, and then it is not among them.
        let mut writer = lock(&self.writer);
        let (today, lives) = (self.today(), self.lives.read().unwrap_or_else(PoisonError::into_inner).clone());
        let ended = |index: &Index| -> BTreeSet<u32> {
            let is_over = |row: &index::KeyRow<'_>| {
                // It may have been used for some days more than the file says.
                let last = row.used.saturating_add(limits::KEY_USE_DAYS);
                lives.get(&row.class).is_some_and(|days| today > last.saturating_add(*days))
            };
            (0..).zip(index.keys()).filter(|(_, row)| is_over(row)).map(|(place, _)| place).collect()
        };
        if ended(&self.index.read().unwrap_or_else(PoisonError::into_inner)).is_empty() {
            return Ok(None);
        }
        self.destroy_now(&mut writer, ended).map(Some)
    }

    fn destroy_now(&self, writer: &mut Writer, gone: impl FnOnce(&Index) -> BTreeSet<u32>) -> Result<Destroyed, Error> {
        if let Some(reason) = writer.stopped.get() {
            return Err(Error::Stopped { reason: Arc::clone(reason) });
        }
        let (before, kept) = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            (index.lens(), index.without(&gone(&index)))
        };
        let after = kept.lens();
        let ended = match self.rewrite(writer, &kept) {
            Ok(ended) => ended,
            Err(error) => return Err(writer.fail(Failure::Stop(error))),
        };
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = kept;
        if let Some(store) = &writer.store {
            let destroyed = destroy_others(&self.means, &store.dir, store.epoch, store.kek.kind());
            destroyed.map_err(|error| writer.fail(Failure::Stop(error)))?;
        }
        Ok(Destroyed { ended, keys: before.0 - after.0, tags: before.1 - after.1 })
    }

    /// Writes `kept` under the next epoch. Returns the one that ended.
    fn rewrite(&self, writer: &mut Writer, kept: &Index) -> Result<u64, Error> {
        let Some(store) = &mut writer.store else { return Ok(0) };
        let next = Epoch { number: store.epoch + 1, emk: draw(&*self.means.rng) };
        write_emk(&self.means, &store.dir, &self.tenant, &*store.kek, next.number, &next.emk)?;
        // What wraps may be new: it has to open what it will be asked to, before anything is sealed under that.
        let again = read_emk(&*self.means.disk, &store.dir, &self.tenant, &*store.kek, next.number)?;
        if *again != *next.emk {
            return Err(Error::Damaged { why: "the master key that was written is not the one that is read" });
        }
        let written = write_keys(&self.means, &store.dir, &self.tenant, &next, kept, &self.lookup)?;
        let ended = store.epoch;
        store.take(written);
        self.epoch.store(store.epoch, Ordering::Relaxed);
        Ok(ended)
    }

    /// Puts the keystore under another passphrase, or under a random key in a file beside it (`None`): everything is written
    /// anew under the next epoch's master key, which the new key wraps, and then the old master key is destroyed, so that
    /// whoever learns the old passphrase opens old copies alone. Holds the mint lock, and blocks for about a second.
    /// If it is interrupted, either the old passphrase opens the keystore or the new one (S-2): [`Self::opens_under`] says
    /// which. Returns the epoch that ended.
    ///
    /// # Errors
    /// [`Error::Kek`] where a random key is asked for and there is one already; where the disk is full, everything is as it
    /// was; where it fails, the keystore stops.
    pub fn change_passphrase(&self, passphrase: Option<Private<Vec<u8>>>) -> Result<u64, Error> {
        let mut writer = lock(&self.writer);
        if let Some(reason) = writer.stopped.get() {
            return Err(Error::Stopped { reason: Arc::clone(reason) });
        }
        let Some(store) = &mut writer.store else { return Ok(0) };
        let kek: Box<dyn Kek> = match passphrase {
            Some(passphrase) => Box::new(PassphraseKek::new(passphrase)),
            // Another random key in the place of the one that wraps would be an end of both.
            None if store.kek.kind() == kek::FILE_KIND => {
                return Err(Error::Kek { why: "it is a random one in a file already" });
            }
            None => Box::new(FileKek::make(&*self.means.disk, &store.dir, &*self.means.rng)?),
        };
        let before = std::mem::replace(&mut store.kek, kek);
        let written = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            self.rewrite(&mut writer, &index)
        };
        let ended = match written {
            Ok(ended) => ended,
            Err(error) => {
                let full = matches!(&error, Error::Disk(error) if error.is_full());
                let stays = writer.store.as_mut().is_some_and(|store| {
                    store.kek = before;
                    // The name may lead to the new file already, and then the old one is nobody's.
                    full && read_header(&*self.means.disk, &store.dir).is_ok_and(|header| header.epoch == store.epoch)
                });
                return Err(writer.fail(if stays { Failure::Refused(error) } else { Failure::Stop(error) }));
            }
        };
        if let Some(store) = &writer.store {
            let destroyed = destroy_others(&self.means, &store.dir, store.epoch, store.kek.kind());
            destroyed.map_err(|error| writer.fail(Failure::Stop(error)))?;
        }
        Ok(ended)
    }

    /// Ends in order: nothing is minted any more, and the next start need not write the file anew. Not needed.
    pub fn close(&self) {
        let mut writer = lock(&self.writer);
        if writer.stopped.get().is_some() {
            return;
        }
        if let Some(store) = &mut writer.store {
            let mut frame = Vec::new();
            store.sealing.frame(&mut frame, store.ordinal, store.synced, &[], &*self.means.rng);
            // What does not arrive costs the next start a little.
            let _ = store.file.write_at(&frame, store.end);
        }
        let _ = writer.stopped.set("it was closed".into()); // nobody set it: the lock is held
    }
}

/// Returns the place of the key that all of the tags lead to, by links too.
fn resolve(index: &Index, want: &Want) -> Option<u32> {
    let mut tags = want.tags.iter();
    let first = index.find(tags.next()?, want.class)?;
    tags.all(|tag| index.find(tag, want.class).is_some_and(|place| index.is_linked(first, place))).then_some(first)
}

struct NewKey {
    class: Class,
    minted: u32,
    key: Secret,
}

/// What a mint adds.
#[derive(Default)]
struct Plan {
    keys: BTreeMap<Kid, NewKey>,
    tags: Vec<(Tag, Kid)>,
    links: BTreeSet<(Kid, Kid)>,
    /// Keys that are used again, and the day.
    used: BTreeMap<Kid, u32>,
}

impl Plan {
    fn records(&self) -> Vec<Record<'_>> {
        let keys = self.keys.iter().map(|(kid, new)| Record::Key {
            kid: *kid,
            class: new.class,
            minted: new.minted,
            key: &new.key,
        });
        let tags = self.tags.iter().map(|(tag, kid)| Record::Tag { tag: *tag, kid: *kid });
        let links = self.links.iter().map(|(a, b)| Record::Link(*a, *b));
        let used = self.used.iter().map(|(kid, day)| Record::Used { kid: *kid, day: *day });
        keys.chain(tags).chain(links).chain(used).collect()
    }
}

/// How an append failed.
enum Failure {
    /// Nothing was written that counts: the file may be used.
    Refused(Error),
    /// Nobody knows what is on the disk.
    Stop(Error),
}

impl Writer {
    fn fail(&mut self, failure: Failure) -> Error {
        match failure {
            Failure::Refused(error) => error,
            Failure::Stop(error) => {
                let _ = self.stopped.set(error.to_string().into()); // the first failure counts
                error
            }
        }
    }
}

impl Store {
    fn new(dir: &Path, kek: Box<dyn Kek>, written: Written) -> Self {
        let Written { file, sealing, epoch, end, frames } = written;
        Self { dir: dir.to_owned(), kek, file, sealing, epoch, end, synced: end, ordinal: frames }
    }

    /// Appends records and syncs once.
    fn append(&mut self, records: &[Record<'_>], rng: &dyn Rng) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let mut ordinal = self.ordinal;
        for part in records.chunks(limits::KEYSTORE_FRAME_RECORDS_MAX) {
            self.sealing.frame(&mut bytes, ordinal, self.synced, part, rng);
            ordinal += 1;
        }
        if let Err(error) = self.file.write_at(&bytes, self.end) {
            // What arrived of it is overwritten by the next, or cut at the next start.
            let full = error.is_full();
            return Err(if full { Failure::Refused(error.into()) } else { Failure::Stop(error.into()) });
        }
        #[cfg(not(dihya_mutant = "fdatasync"))]
        self.file.sync_data().map_err(|error| Failure::Stop(error.into()))?;
        self.end += bytes.len() as u64;
        (self.synced, self.ordinal) = (self.end, ordinal);
        Ok(())
    }

    /// Goes on in a file that was just written whole.
    fn take(&mut self, written: Written) {
        let Written { file, sealing, epoch, end, frames } = written;
        (self.file, self.sealing, self.epoch) = (file, sealing, epoch);
        (self.end, self.synced, self.ordinal) = (end, end, frames);
    }
}

/// A master key and its number.
struct Epoch {
    number: u64,
    emk: Secret,
}

/// A file that is whole and durable under its name.
struct Written {
    file: Box<dyn DiskFile>,
    sealing: Sealing,
    epoch: u64,
    end: u64,
    frames: u64,
}

/// Writes everything in `index` into a new file and puts it in the place of the old one (D-1).
fn write_keys(
    means: &Means,
    dir: &Path,
    tenant: &Tenant,
    epoch: &Epoch,
    index: &Index,
    lookup: &[u8; 32],
) -> Result<Written, Error> {
    let (path, temporary) = (dir.join(KEYS), dir.join(KEYS).with_extension("tmp"));
    remove(&*means.disk, &temporary)?;
    let mut id = [0; 16];
    means.rng.fill(&mut id);
    let sealing = Sealing::new(&epoch.emk, tenant, epoch.number, id);
    let file = means.disk.open(&temporary, Open::CreateNew)?;
    let (end, frames) = file::write_whole(&*file, &sealing, index, lookup, &*means.rng)?;
    file.sync_data()?;
    means.disk.rename(&temporary, &path)?;
    disk::sync_parent(&*means.disk, &path)?;
    Ok(Written { file, sealing, epoch: epoch.number, end, frames })
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    if disk.exists(path) {
        disk.remove(path)?;
        disk::sync_parent(disk, path)?;
    }
    Ok(())
}

fn read_header(disk: &dyn Disk, dir: &Path) -> Result<Header, Error> {
    let path = dir.join(KEYS);
    if !disk.exists(&path) {
        return Err(Error::Damaged { why: "its keys are gone" });
    }
    Header::read(&*disk.open(&path, Open::Read)?)
}

fn read_file_kek(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Kek>, Error> {
    if !disk.exists(&dir.join(kek::FILE)) {
        return Err(Error::Kek { why: "there is no random key in a file, so it has a passphrase, and none is given" });
    }
    Ok(Box::new(FileKek::read(disk, dir)?))
}

/// What a wrapped master key is bound to.
fn emk_context(tenant: &Tenant, epoch: u64) -> Vec<u8> {
    let mut context = b"dihya/emk/1".to_vec();
    context.push(u8::try_from(tenant.as_str().len()).expect("invariant: names have at most 128 bytes"));
    context.extend_from_slice(tenant.as_str().as_bytes());
    context.extend_from_slice(&epoch.to_le_bytes());
    context
}

const EMK_MAGIC: &[u8; 8] = b"DhEmk1\n\0";

fn write_emk(
    means: &Means,
    dir: &Path,
    tenant: &Tenant,
    kek: &dyn Kek,
    epoch: u64,
    emk: &[u8; 32],
) -> Result<(), Error> {
    let mut bytes = EMK_MAGIC.to_vec();
    bytes.push(kek.kind());
    bytes.extend(kek.wrap(&emk_context(tenant, epoch), emk, &*means.rng)?);
    Ok(write_atomic(&*means.disk, &dir.join(format!("{EMK}{epoch}")), &bytes)?)
}

fn read_emk(disk: &dyn Disk, dir: &Path, tenant: &Tenant, kek: &dyn Kek, epoch: u64) -> Result<Secret, Error> {
    let path = dir.join(format!("{EMK}{epoch}"));
    if !disk.exists(&path) {
        return Err(Error::Damaged { why: "the master key of its epoch is gone" });
    }
    let bytes = disk::read(disk, &path)?;
    let Some([kind, wrapped @ ..]) = bytes.strip_prefix(EMK_MAGIC) else {
        return Err(Error::Damaged { why: "the master key of its epoch is broken" });
    };
    if *kind != kek.kind() {
        return Err(Error::Kek { why: "it was made with a passphrase, or without one, and now it is the other way" });
    }
    kek.unwrap(&emk_context(tenant, epoch), wrapped)
}

/// Destroys the master keys of all epochs but one, and the random key that wraps none of them any more: overwritten, synced,
/// removed, the directory synced.
fn destroy_others(means: &Means, dir: &Path, epoch: u64, kek_kind: u8) -> Result<(), Error> {
    let mut destroyed = false;
    for entry in means.disk.list(dir)? {
        let is_old_kek = entry.name == kek::FILE && kek_kind != kek::FILE_KIND;
        let is_old_emk = entry.name.strip_prefix(EMK).is_some_and(|number| number.parse() != Ok(epoch));
        if !is_old_kek && !is_old_emk {
            continue;
        }
        let path = dir.join(&entry.name);
        let mut noise = vec![0; usize::try_from(entry.len).unwrap_or(0)];
        means.rng.fill(&mut noise);
        let file = means.disk.open(&path, Open::Write)?;
        file.write_at(&noise, 0)?;
        file.sync_data()?;
        drop(file);
        means.disk.remove(&path)?;
        destroyed = true;
    }
    if destroyed {
        means.disk.sync_dir(dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
