//! Rotation of a log's keys: new keys, a leaf that announces them, a checkpoint over it by old and new, then the new ones.
//!
//! Each step is durable before the next, and opening the ledger goes on with a rotation that was cut off (invariants K-1
//! and K-2): at every moment there are keys that sign, and the new ones never sign alone before the checkpoint that both
//! signed is durable.

use model::{Kind, Origin};

use crate::engine::Engine;
use crate::entry::Entry;
use crate::error::Error;
use crate::group::Draft;
use crate::keys::{Keyring, Next, Place};
use crate::note::Verifiers;
use crate::own::KeyRotation;
use crate::publish::DirTiles;
use crate::shared::Signed;
use crate::tile::{ReadTile as _, TilePath, WIDTH, read_bundle};

/// What a rotation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotated {
    /// Which rotation of the log it was, from 1.
    pub number: u64,
    /// The leaf that announces the new keys.
    pub leaf: u64,
    /// The keys in force now.
    pub keys: Verifiers,
}

impl Engine {
    /// Gives a log new signing keys, and ends a rotation of it that was cut off before. Durable on return.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`] when there is no such log. Else the disk failed: the ledger must be opened again, which
    /// ends what was begun.
    pub fn rotate(&mut self, origin: &Origin, keyring: &dyn Keyring) -> Result<Rotated, Error> {
        let log = self.shared.origin(origin.as_str()).ok_or(Error::UnknownTenant)?;
        let number = usize::from(log.number);
        // Nothing is open or unsigned: the leaf to come is then found among the few after these.
        self.publish()?;
        if self.publisher.keys(number).next.is_none() {
            let leaves = self.shared.origins[number].signed().map_or(0, |signed| signed.size);
            let drawn = self.with_place(number, |place, origin| keyring.draw(place, origin, leaves))?;
            self.publisher.set_keys(number, drawn);
        }
        self.go_on(number, keyring)?.ok_or(Error::UnknownTenant)
    }

    /// Ends the rotations that a life before began. A disk that is full leaves them for the next start: old and new sign
    /// until then.
    pub(crate) fn end_rotations(&mut self, keyring: &dyn Keyring) -> Result<(), Error> {
        for number in 0..self.shared.origins.len() {
            match self.go_on(number, keyring) {
                Ok(None) => {}
                Ok(Some(rotated)) => {
                    tracing::info!(rotation = rotated.number, leaf = rotated.leaf, "ended a rotation of keys");
                }
                Err(error) if error.is_full() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "could not end a rotation of keys");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the rotation of a log from where it stands to its end; `None` when there is none.
    fn go_on(&mut self, number: usize, keyring: &dyn Keyring) -> Result<Option<Rotated>, Error> {
        let Some(next) = self.publisher.keys(number).next.clone() else { return Ok(None) };
        self.publish()?;
        let leaf = match self.find_leaf(number, &next)? {
            Some(leaf) => leaf,
            None => {
                let leaf = self.shared.origins[number].signed().map_or(0, |signed| signed.size);
                self.announce_keys(number, &next)?;
                self.publisher.publish()?;
                leaf
            }
        };
        let signed = self.signed_by_both(number, &next, leaf)?;
        let taken = self.with_place(number, |place, origin| keyring.take_over(place, origin, &signed.note))?;
        self.publisher.set_keys(number, taken);
        Ok(Some(Rotated { number: next.number, leaf, keys: next.new }))
    }

    fn announce_keys(&mut self, number: usize, next: &Next) -> Result<(), Error> {
        let vkey = next.new.ed25519.vkey();
        let ml_dsa = next.new.ml_dsa_44.as_ref().map(crate::note::Verifier::public).unwrap_or_default();
        let record =
            KeyRotation { vkey: &vkey, ml_dsa_public: &ml_dsa, number: next.number, retired: next.old.digest() };
        self.writer.stage_own(number, Draft::own(Kind::KeyRotation, record.fields()), true)?;
        self.writer.flush()
    }

    /// Returns the checkpoint in force, over the leaf and signed by the old and the new keys.
    fn signed_by_both(&self, number: usize, next: &Next, leaf: u64) -> Result<std::sync::Arc<Signed>, Error> {
        let log = &self.shared.origins[number];
        let whole = |signed: &Signed| {
            let note = signed.note.as_bytes();
            signed.size > leaf && next.old.open(note).is_ok() && next.new.open(note).is_ok()
        };
        if log.signed().is_none_or(|signed| !whole(&signed)) {
            // A version that does not know of rotations signed meanwhile, with the old keys alone.
            self.publisher.sign(number).map_err(|error| self.shared.stop(&error))?;
        }
        let why = "its checkpoint is not signed by the old and the new keys";
        let contradiction = || Error::Contradiction { origin: log.origin.to_string(), why };
        log.signed().filter(|signed| whole(signed)).ok_or_else(contradiction)
    }

    /// Looks for the rotation's leaf among those that came after its keys were made; all of them are signed.
    fn find_leaf(&self, number: usize, next: &Next) -> Result<Option<u64>, Error> {
        let log = &self.shared.origins[number];
        let size = log.signed().map_or(0, |signed| signed.size);
        let dir = self.shared.config.log(log.origin.as_str());
        let mut tiles = DirTiles { disk: &*self.shared.disk, dir };
        let (wide, vkey) = (u64::from(WIDTH), next.new.ed25519.vkey());
        for bundle in next.leaves / wide..size.div_ceil(wide) {
            let width = u16::try_from(size - bundle * wide).map_or(WIDTH, |left| left.min(WIDTH));
            let bytes = tiles.read_tile(TilePath::entries(bundle, width))?;
            for (entry, leaf) in read_bundle(&bytes).take(usize::from(width)).zip(bundle * wide..) {
                let entry = Entry::decode(entry?)?;
                if KeyRotation::read(&entry).is_ok_and(|rotation| rotation.vkey == vkey) {
                    return Ok(Some(leaf));
                }
            }
        }
        Ok(None)
    }

    /// Lets a keyring work in the directories of a log. What it could not end stops the ledger, unless the disk is full:
    /// which keys are in force, only opening it again tells.
    fn with_place<T>(
        &self,
        number: usize,
        act: impl FnOnce(&Place<'_>, &Origin) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (shared, origin) = (&self.shared, &self.shared.origins[number].origin);
        let (secret, public) = (shared.config.keys(origin.as_str()), shared.config.log(origin.as_str()));
        let place = Place { disk: &*shared.disk, rng: &*shared.rng, secret: &secret, public: &public };
        act(&place, origin).map_err(|error| if error.is_full() { error } else { shared.stop(&error) })
    }
}
