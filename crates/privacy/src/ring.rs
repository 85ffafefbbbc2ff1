//! A keystore's keys by the names under which boxes have them: for whoever opens many boxes.

use std::collections::HashMap;

use crate::boxes::{Boxed, Opened, Place};
use crate::keystore::{Keystore, Kid, Owner};

/// The keys of a keystore as they were when this was made, which takes about two seconds and 50 MB for a million.
pub struct Ring<'a> {
    keystore: &'a Keystore,
    kids: HashMap<[u8; 16], Kid>,
}

impl std::fmt::Debug for Ring<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({} keys)", self.kids.len())
    }
}

/// What came of a box.
#[derive(Debug)]
pub enum Tried {
    /// What was in it.
    Opened(Vec<Opened>),
    /// A key that it needs is not there: it was destroyed, or never was one of this keystore.
    Erased,
    /// All its keys are there, and it does not open.
    Closed,
}

impl<'a> Ring<'a> {
    /// Takes the keys of a keystore.
    #[must_use]
    pub fn new(keystore: &'a Keystore) -> Self {
        Self { keystore, kids: keystore.handles() }
    }

    /// Tries to open a box of the record `uuid` in the log at `place`.
    #[must_use]
    pub fn open(&self, found: &Boxed<'_>, place: &Place, uuid: &[u8; 16]) -> Tried {
        let owner = |handle: &[u8; 16]| self.keystore.key(*self.kids.get(handle)?);
        let Some(owners) = found.handles().iter().map(owner).collect::<Option<Vec<Owner>>>() else {
            return Tried::Erased;
        };
        found.open(place, uuid, &owners).map_or(Tried::Closed, Tried::Opened)
    }
}
