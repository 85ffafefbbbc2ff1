//! `Cleared`: a signal in which no raw personal value is left.

use model::{Kind, SourceId, Tenant, Value};

/// A value that stands in the entry itself and may be published.
#[derive(Clone, Debug, PartialEq)]
pub enum Public {
    /// True or false.
    Bool(bool),
    /// A whole number from 0.
    U64(u64),
    /// A whole number.
    I64(i64),
    /// A number.
    F64(f64),
    /// An enumeration or an id of ours.
    Text(String),
    /// A name that the operator chose; the ledger writes its interned number.
    Name(String),
}

/// A signal after privacy: the only thing the ledger appends. Fields ascend by id and are unique.
#[derive(Clone, Debug, PartialEq)]
pub struct Cleared {
    pub(crate) tenant: Tenant,
    pub(crate) source: SourceId,
    pub(crate) kind: Kind,
    pub(crate) public: Vec<(u16, Public)>,
    pub(crate) payload: Vec<(u16, Value)>,
}

impl Cleared {
    /// Returns whose it is.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Returns what produced it.
    #[must_use]
    pub const fn source(&self) -> SourceId {
        self.source
    }

    /// Returns what kind of record it becomes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns what may be published.
    #[must_use]
    pub fn public(&self) -> &[(u16, Public)] {
        &self.public
    }

    /// Returns what is committed to and kept erasable.
    #[must_use]
    pub fn payload(&self) -> &[(u16, Value)] {
        &self.payload
    }
}
